"""Processes of steps: a keeper is their parent, forks or starts them, and leaves none behind when the engine dies."""
