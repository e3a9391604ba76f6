"""Where answers are told besides the log: one file a kind of address. A sink is told from the durable log, never by the answer."""
