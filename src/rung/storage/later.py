"""Things that are said now and made when they are first used: words of a module, declarations, statements that a module keeps."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from threading import RLock
from typing import Any, TypeVar

T = TypeVar("T")
_MAKING = RLock()  # a table enters its metadata once, whoever comes first


class Later:
    """What a thunk will make, made when something is asked of it; SQLAlchemy takes it where it takes what it makes."""

    is_clause_element = False  # but it has one, see __clause_element__

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def made(self) -> Any:
        """The thing itself."""
        if self._made is None:
            with _MAKING:
                if self._made is None:
                    self._made = self._make()
        return self._made

    def __clause_element__(self) -> Any:
        return self.made()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self.__dict__[name] = getattr(self.made(), name)
        return found


class Word:
    """A word of a module that is loaded when the word is used."""

    def __init__(self, name: str, module: str = "sqlalchemy") -> None:
        self.name = name
        self._module = module
        self._found: Any = None

    def found(self) -> Any:
        """What the module calls so."""
        if self._found is None:
            self._found = getattr(import_module(self._module), self.name)
        return self._found

    def __call__(self, *parts: Any, **options: Any) -> Any:
        return self.found()(*map(real, parts), **{name: real(value) for name, value in options.items()})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.found(), name)


class Declared(Later):
    """A declaring word with what was said to it, both there to be read before the thing is made."""

    def __init__(self, word: Word, parts: tuple[Any, ...], options: dict[str, Any]) -> None:
        super().__init__(lambda: Word.__call__(word, *parts, **options))
        self.word = word.name
        self.parts = parts


class Declaring(Word):
    """A word that makes nothing when it is called: it notes what was said."""

    def __call__(self, *parts: Any, **options: Any) -> Any:
        return Declared(self, parts, options)


def later(make: Callable[[], T]) -> T:
    """What ``make`` will answer, made once, when it is first used: a statement or a condition that a module keeps."""
    return Later(make)  # type: ignore[return-value]  # it stands for it wherever SQLAlchemy looks


def real(value: Any) -> Any:
    """The thing that a word, or what will be made later, stands for; anything else as it is."""
    if isinstance(value, Later):
        return value.made()
    return value.found() if isinstance(value, Word) else value
