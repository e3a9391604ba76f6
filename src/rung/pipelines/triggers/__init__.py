"""Kinds of triggers, one file each: what calls upon them, and on which condition they answer."""
