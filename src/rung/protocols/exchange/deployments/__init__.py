"""Deployments for other systems, one file a system."""
