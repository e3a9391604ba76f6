"""Reproducing: code is restored, libraries are proven or rebuilt, the network is closed, and every output is compared.

Packages run through the same door, from their own code, without the comparison. Nothing is imported here: a step's own
process loads ``network`` before anything else.
"""
