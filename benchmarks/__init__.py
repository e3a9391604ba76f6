"""Measured claims: each benchmark prints its figures with the versions they belong to, and asserts nothing."""
