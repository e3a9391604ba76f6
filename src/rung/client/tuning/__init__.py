"""Sweeps: many trials of one objective over a space of params, each a run of its own below the sweep's run.

One process, the tuner, chooses params and judges; it alone writes the sweep's ledger, and whoever executes a trial asks it.
A trial's result is on disk before its run is closed, so that going on after a crash neither loses nor repeats one.
"""
