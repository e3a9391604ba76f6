"""An inference node: ``rung serve`` that follows a platform over HTTP and needs nothing of it to go on answering.

One follower keeps the node's own home as the platform's deployments are; one shipper brings the prediction log to the platform.
"""
