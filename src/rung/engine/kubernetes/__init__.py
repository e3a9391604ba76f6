"""Kubernetes: manifests of jobs, and the few requests of its API that they need."""
