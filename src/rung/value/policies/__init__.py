"""Retraining policies: pure functions from evidence and settings to a proposal, one file each."""
