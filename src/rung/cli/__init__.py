"""The command line: parses, asks the platform, shows the answer. No decision is taken here."""
