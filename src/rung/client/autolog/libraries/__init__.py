"""Libraries whose training can be watched, one file each. None of them imports its library."""
