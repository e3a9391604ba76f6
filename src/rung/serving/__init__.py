"""Deployments and their traffic, the data plane that answers, and the durable log of every prediction.

A revision is immutable; a deployment points at one. The data plane reads what is deployed and writes only its own
log, never a transaction. A prediction is on disk before it is answered.
"""
