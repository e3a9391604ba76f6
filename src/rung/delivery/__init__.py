"""What leaves the platform as a document: dossiers of model versions and release notes of revisions.

A dossier is generated from records; what no record says is named as a gap, never invented.
"""
