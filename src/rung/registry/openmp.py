"""One OpenMP thread for few rows: waking the others costs a model more, a tree at a time, than they save."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")


class OneThread:
    """Calls with one OpenMP thread, in the calling thread alone, and as many as before afterwards.

    Looking for the loaded libraries takes milliseconds, hence once: make it after the model's own library was imported.
    """

    __slots__ = ("_libraries",)

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - loads nothing where every engine is compiled

        held: list[Any] = ThreadpoolController().lib_controllers
        self._libraries = [library for library in held if library.user_api == "openmp"]

    def __call__(self, ask: Callable[[Given], Found], given: Given) -> Found:
        """What ``ask`` answers to ``given``."""
        several = [(library, count) for library in self._libraries if (count := library.get_num_threads()) != 1]
        if not several:
            return ask(given)
        for library, _ in several:
            library.set_num_threads(1)
        try:
            return ask(given)
        finally:
            for library, count in several:
                library.set_num_threads(count)
