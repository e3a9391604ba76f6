"""What a deployment's predictions look like, window by window, and why they changed.

Windows are cut by event time, and only complete ones are judged. An alert needs significance and size; too few rows are
called insufficient, never stable. A diagnosis names a cause with evidence before anybody may retrain.
"""
