"""Composition root: settings become a platform, and the platform is the one door every request goes through."""
