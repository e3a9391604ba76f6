"""Whether this process was told to end with nobody to take its place: it still answers, and says that it wants no more requests."""

from __future__ import annotations

import threading

DRAINING = threading.Event()
REASON = "draining: this process was told to end; what is sent to it is answered for a moment yet"
