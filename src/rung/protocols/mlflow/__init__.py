"""The MLflow protocol: a table of translations, one row a route, with no decision in it.

A row turns a foreign body into requests of ours and their answers into MLflow's JSON. Rows of one subject stand in one
module; ``routes`` gathers them, ``errors`` and ``wire`` say how errors, numbers and instants look over there.
"""
