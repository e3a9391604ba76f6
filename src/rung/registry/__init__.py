"""Model registry: named models, numbered versions, movable aliases, gates.

An alias points at exactly one version of one model. Versions are immutable; aliases move, and the champion's only
behind a passing verdict or an override whose reason is kept. Loading a model runs no code from its file.
"""
