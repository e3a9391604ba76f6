"""Whether this process was told to end: it still answers, and says that it wants no more requests where nobody takes its place."""

from __future__ import annotations


class Flag:
    """Raised by a signal's handler: one that comes while another is handled must find no lock held, as an Event would hold."""

    def __init__(self) -> None:
        self._raised = False

    def is_set(self) -> bool:
        """Whether it is raised."""
        return self._raised

    def set(self) -> None:
        """Raise it."""
        self._raised = True

    def clear(self) -> None:
        """Lower it."""
        self._raised = False


ENDING = Flag()  # once this process begins to end: whoever keeps requests waiting lets go of them
DRAINING = Flag()  # with nobody to take its place
REASON = "draining: this process was told to end; what is sent to it is answered for a moment yet"
