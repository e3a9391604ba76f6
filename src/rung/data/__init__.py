"""Datasets: named tables and folders, whose versions are immutable and addressed by their content.

The same content again is the same version. A profile is computed once a version; expectations are set per dataset and
checked at every new version: a failing blocking one marks the version, and ``require_valid`` then stops the pipeline.
"""
