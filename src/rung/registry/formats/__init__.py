"""Model formats, one file each. None of them unpickles."""
