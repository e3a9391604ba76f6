"""Serving engines, one file each: how a model's files become an artifact that answers alike without the model's library."""
