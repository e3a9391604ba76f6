"""``rung serve``: one process that answers, or a supervisor with worker processes on one port.

The supervisor opens no database and loads no model. It holds the listening sockets, one a worker, so that a connection
that waits for a worker that died is taken by the next in its place. What workers share is loaded once and forked.
"""
