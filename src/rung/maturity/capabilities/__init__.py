"""Evidence queries: each file answers a few related criteria from what the snapshot of records holds."""
