"""Any PyMeasure class in a role, by a map of its attributes: ``attributes = {setpoint = "output_1.setpoint"}``.

What the map names is set through the class as it is, read back, and parsed to finite SI numbers. The words of a role:

bias (gate, drain)   level (V), output (on or off), limit (A)
temperature          temperature (K), setpoint (K), heater
power                power (W), wavelength (m; left out where it cannot be set), sensor and serial (text)
"""

from __future__ import annotations

import importlib
import math
import re
from typing import Any

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.quantity import SI_UNIT, UNITS, offset_of
from otters_lab.instruments.drivers.entries import AttributeMap
from otters_lab.instruments.drivers.replies import confirm, finite, first_error, link_errors

_CLASS = re.compile(r"(?P<module>pymeasure\.instruments(?:\.\w+)*):(?P<name>[A-Za-z_]\w*)", re.ASCII)
_PATH = re.compile(r"(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?: \[(?P<unit>[^\[\]]+)\])?", re.ASCII)

# role -> word -> the quantity's dimension, None for what is no quantity; those in OPTIONAL may be left out.
WORDS: dict[str, dict[str, str | None]] = {
    "bias": {"level": "voltage", "output": None, "limit": "current"},
    "temperature": {"temperature": "temperature", "setpoint": "temperature", "heater": None},
    "power": {"power": "power", "wavelength": "length", "sensor": None, "serial": None},
}
OPTIONAL = {"bias": {"limit"}, "temperature": set[str](), "power": {"wavelength", "sensor", "serial"}}


def is_mapped(driver: str) -> bool:
    """Whether a driver's name is that of a PyMeasure class, ``pymeasure.instruments.MODULE:Class``."""
    return _CLASS.fullmatch(driver) is not None


def map_problems(role: str, attributes: dict[str, str]) -> list[str]:
    """What is wrong with a map, as sentences; no class is loaded."""
    words = WORDS[role]
    problems = [f"attributes has no {word}" for word in words if word not in attributes and word not in OPTIONAL[role]]
    for word, path in attributes.items():
        if word not in words:
            problems.append(f"attributes names {word!r}, expected {', '.join(words)}")
            continue
        match, dimension = _PATH.fullmatch(path), words[word]
        if match is None:
            problems.append(f'attributes.{word} is {path!r}, expected a path like "output_1.setpoint [K]"')
        elif match["unit"] is not None and (dimension is None or UNITS.get(match["unit"], ("",))[0] != dimension):
            wanted = "no unit" if dimension is None else f"a unit of {dimension}"
            problems.append(f"attributes.{word} is in {match['unit']!r}, expected {wanted}")
    return problems


class MappedInstrument:
    """An open instrument behind its map: words in, SI numbers out."""

    def __init__(self, instrument: Any, role: str, kind: str, map_: AttributeMap, error_query: str | None) -> None:
        self.instrument = instrument
        self.role = role
        self._map = map_
        self._words = WORDS[kind]
        self._error_query = error_query

    def identify(self) -> str:
        """The *IDN? reply."""
        with link_errors(self.role):
            self.instrument.write("*IDN?")
            return str(self.instrument.read()).strip()

    def __contains__(self, word: str) -> bool:
        return word in self._map.attributes

    def reset(self) -> None:
        """Looks at what must have been set up by hand, sends the map's reset messages and sets what it presets.

        Raises
        ------
        InstrumentError
            if the instrument is set up otherwise, or a preset does not read as it was set.
        """
        with link_errors(self.role):
            for query, (expected, meaning) in self._map.set_up.items():
                self.instrument.write(query)
                reply = str(self.instrument.read()).strip()
                if not re.fullmatch(expected, reply):
                    raise InstrumentError(f"{self.role}: not set up for {meaning}: {query} says {reply!r}")
            for message in self._map.reset:
                self.instrument.write(message)
            for path, value in self._map.preset.items():
                self._set(path, value)
                found = self._get(path)
                same = math.isclose(found, value) if isinstance(value, float) else found == value
                if not same:
                    raise InstrumentError(f"{self.role}: {path}: asked for {value!r}, the instrument says {found!r}")

    def number(self, word: str) -> float:
        """A word's value in SI units.

        Raises
        ------
        InstrumentError
            if it is no finite number.
        """
        path, factor, offset = self._at(word)
        with link_errors(self.role):
            return finite(self._get(path), f"{self.role}: {word}") * factor + offset

    def set_number(self, word: str, value: float, relative: float = 1e-5) -> None:
        """Sets a word in SI units and reads it back."""
        path, factor, offset = self._at(word)
        with link_errors(self.role):
            self._set(path, (value - offset) / factor)
        confirm(self.role, f"{word} ({SI_UNIT[str(self._words[word])]})", value, self.number(word), relative)

    def set_state(self, word: str, state: Any) -> None:
        """Sets what is no quantity and reads it back."""
        path, _, _ = self._at(word)
        with link_errors(self.role):
            self._set(path, state)
        found = self.state(word)
        if found != state:
            raise InstrumentError(f"{self.role}: {word}: asked for {state!r}, the instrument says {found!r}")

    def state(self, word: str) -> Any:
        """What is no quantity, as the class tells it."""
        path, _, _ = self._at(word)
        with link_errors(self.role):
            return self._get(path)

    def check_errors(self, when: str) -> None:
        """The error queue, where it is known how this instrument's is read."""
        if self._error_query is None:
            return
        with link_errors(self.role):
            self.instrument.write(self._error_query)
            error = first_error(str(self.instrument.read()), f"{self.role} error queue")
        if error:
            raise InstrumentError(f"{self.role}: error queue {when}: {error}")

    def _at(self, word: str) -> tuple[str, float, float]:
        """Path, and factor and offset from its unit to SI."""
        match = _PATH.fullmatch(self._map.attributes[word])
        if match is None:
            raise InstrumentError(f"{self.role}: attributes.{word} is no path")
        unit = match["unit"]
        return match["path"], float(UNITS[unit][1]) if unit else 1.0, offset_of(unit) if unit else 0.0

    def _get(self, path: str) -> Any:
        found = self.instrument
        for name in path.split("."):
            found = getattr(found, name)
        return found

    def _set(self, path: str, value: Any) -> None:
        *owners, name = path.split(".")
        owner = self._get(".".join(owners)) if owners else self.instrument
        if not hasattr(type(owner), name):  # Python would make a new attribute, which then reads back as it was set
            raise InstrumentError(f"{self.role}: {type(owner).__name__} has no attribute {name!r}")
        setattr(owner, name, value)


def load_class(place: str) -> Any:
    """The class at "module:Class" of ours or of PyMeasure's.

    Raises
    ------
    InputError
        if there is none.
    """
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError("no such PyMeasure class", found=place) from error
