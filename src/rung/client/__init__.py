"""The public library: typed verbs over a transport, in process or over HTTP, and the fluent functions of ``rung``."""
