"""Kinds of graph nodes, one file each."""
