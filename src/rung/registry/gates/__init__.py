"""Gates, one file each: what a version must pass before it may take an alias's place."""
