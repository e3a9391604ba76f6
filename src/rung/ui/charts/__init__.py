"""Charts: pure functions from data to SVG, each with a title, a label for screen readers and its data as a table."""
