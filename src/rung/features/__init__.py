"""Feature views: features of an entity computed from one dataset, and the point-in-time join that never sees the future.

A label row at time t meets only rows whose event time is at most t and, when the view declares when rows became known,
that were known at t. Rows in are rows out, in their order.
"""
