"""Numbered migrations, forward only: ``mNNNN_<name>.py`` with ``up(connection)``, each in one transaction."""
