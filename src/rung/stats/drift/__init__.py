"""Drift tests: distances between a reference and the current rows, one file each."""
