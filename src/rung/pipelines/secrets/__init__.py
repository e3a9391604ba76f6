"""Secrets by reference: ``[secrets]`` in rung.toml says where each lies; values are never stored and masked in logs."""

from rung.pipelines.secrets.family import MASK, PREFIX, SECRET_SOURCES, Mask, SecretSource, forms, masked, secret_value, secret_values

__all__ = ["MASK", "PREFIX", "SECRET_SOURCES", "Mask", "SecretSource", "forms", "masked", "secret_value", "secret_values"]
