"""The last few things that were made of files, each kept for as long as nothing was written."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """At most `many` things by name."""

    def __init__(self, many: int) -> None:
        self._many = many
        self._kept: OrderedDict[str, tuple[Hashable, T]] = OrderedDict()

    def get(self, name: str, stamp: Hashable, make: Callable[[], T]) -> T:
        """The thing of this name, made anew if its stamp was another; what `make` raises keeps nothing."""
        known = self._kept.get(name)
        thing = make() if known is None or known[0] != stamp else known[1]
        self.put(name, thing, stamp)
        return thing

    def put(self, name: str, thing: T, stamp: Hashable = None) -> None:
        """Keeps a thing as the newest; the oldest may go."""
        self._kept[name] = (stamp, thing)
        self._kept.move_to_end(name)
        while len(self._kept) > self._many:
            self._kept.popitem(last=False)

    def last(self, name: str) -> T | None:
        """The thing of this name, whatever its stamp."""
        known = self._kept.get(name)
        return None if known is None else known[1]
