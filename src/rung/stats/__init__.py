"""Pure numerics: arrays and frames in, numbers out.

Nothing here knows a deployment, reads a file or asks the clock. Drift tests are a family: one file each in ``drift/``.
"""
