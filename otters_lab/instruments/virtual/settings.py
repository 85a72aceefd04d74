"""A twin's settings: a value a command, with its query, kept in one dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from otters_lab.instruments.virtual.scpi import ScpiInstrument, boolean, choice, integer, number


class Settings:
    """Values by name. `commands` are in the manual's notation; `form` is how the instrument writes a number."""

    def __init__(self, instrument: ScpiInstrument, defaults: Callable[[], dict[str, Any]], form: str) -> None:
        self._instrument = instrument
        self._defaults = defaults
        self._form = form
        self.restore()

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def restore(self) -> None:
        """The defaults."""
        self._values = self._defaults()

    def shown(self, value: float) -> str:
        """A number as the instrument writes it."""
        return self._form % value

    def _add(self, header: str, name: str, show: Callable[[Any], str], parse: Callable[[str], Any]) -> None:
        def put(text: str) -> None:
            self._values[name] = parse(text)

        self._instrument.control(header, lambda: show(self._values[name]), put)

    def number(self, header: str, name: str, low: float, high: float) -> None:
        """A number within bounds."""
        self._add(header, name, self.shown, lambda text: number(text, low, high))

    def whole(self, header: str, name: str, low: int, high: int) -> None:
        """A whole number within bounds."""
        self._add(header, name, str, lambda text: integer(text, low, high))

    def flag(self, header: str, name: str) -> None:
        """ON or OFF."""
        self._add(header, name, lambda value: str(int(value)), boolean)

    def word(self, header: str, name: str, words: Sequence[str]) -> None:
        """One of the words."""
        self._add(header, name, str, lambda text: choice(text, words))
