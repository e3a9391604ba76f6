"""Bringing experiments, runs and models from MLflow: read from a server, a database or a folder, entered here, counted.

``source`` says what is read, ``rest``, ``database`` and ``folder`` read it, ``translating`` turns it into our records,
``copying`` enters it and keeps a journal of what is whole.
"""
