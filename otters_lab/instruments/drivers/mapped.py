"""Any PyMeasure class in a role, by a map of its attributes: ``attributes = {setpoint = "output_1.setpoint"}``.

What the map names is set through the class as it is, read back, and parsed to finite SI numbers. The words of a role,
those in brackets only where the class has them:

meter                current (A), range (A), [nplc], and for one that biases: bias (V), compliance (A), output
light                drive (V), width (s), output, [delay (s)], [fire: a method that begins the pulse]
switch               close (a method called with the channel, or an attribute that is set to it), open_all (a method),
                     [closed: the channels that are closed]
bias (gate, drain)   level (V), output, [limit (A)]
temperature          temperature (K), setpoint (K), heater
power                power (W), [wavelength (m)], [sensor and serial: text]
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.quantity import SI_UNIT, UNITS, offset_of
from otters_lab.instruments.drivers.entries import AttributeMap
from otters_lab.instruments.drivers.replies import LinkError, confirm, finite, first_error, link_errors

_CLASS = re.compile(r"(?P<module>pymeasure\.instruments(?:\.\w+)*):(?P<name>[A-Za-z_]\w*)", re.ASCII)
_PATH = re.compile(r"(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?: \[(?P<unit>[^\[\]]+)\])?", re.ASCII)


@dataclass(frozen=True)
class Word:
    """What a word of a role stands for. `dimension`: of a quantity; None for a number, a state or a method."""

    dimension: str | None = None
    optional: bool = False


def _maybe(dimension: str | None = None) -> Word:
    return Word(dimension, optional=True)


WORDS: Mapping[str, Mapping[str, Word]] = {
    "meter": {
        "current": Word("current"),
        "range": Word("current"),
        "nplc": _maybe(),
        "bias": _maybe("voltage"),
        "compliance": _maybe("current"),
        "output": _maybe(),
    },
    "light": {
        "drive": Word("voltage"),
        "width": Word("time"),
        "output": Word(),
        "delay": _maybe("time"),
        "fire": _maybe(),
    },
    "switch": {"close": Word(), "open_all": Word(), "closed": _maybe()},
    "bias": {"level": Word("voltage"), "output": Word(), "limit": _maybe("current")},
    "temperature": {"temperature": Word("temperature"), "setpoint": Word("temperature"), "heater": Word()},
    "power": {"power": Word("power"), "wavelength": _maybe("length"), "sensor": _maybe(), "serial": _maybe()},
}
# A bias without a current limit, or one that cannot be switched off, is none that we would switch on.
_TOGETHER = {"meter": ("bias", "compliance", "output")}


def is_mapped(driver: str) -> bool:
    """Whether a driver's name is that of a PyMeasure class, ``pymeasure.instruments.MODULE:Class``."""
    return _CLASS.fullmatch(driver) is not None


def map_problems(kind: str, attributes: Mapping[str, str]) -> list[str]:
    """What is wrong with a map for a kind of role, as sentences; no class is loaded."""
    words = WORDS[kind]
    problems = []
    for word, path in attributes.items():
        if word not in words:
            problems.append(f"attributes names {word!r}, expected {', '.join(words)}")
            continue
        match, dimension = _PATH.fullmatch(path), words[word].dimension
        if match is None:
            problems.append(f'attributes.{word} is {path!r}, expected a path like "output_1.setpoint [K]"')
        elif match["unit"] is not None and (dimension is None or UNITS.get(match["unit"], ("",))[0] != dimension):
            wanted = "no unit" if dimension is None else f"a unit of {dimension}"
            problems.append(f"attributes.{word} is in {match['unit']!r}, expected {wanted}")
    problems += [f"attributes has no {word}" for word in words if word not in attributes and not words[word].optional]
    together = _TOGETHER.get(kind, ())
    missing = [word for word in together if word not in attributes]
    if missing and len(missing) < len(together):
        problems.append(f"attributes has no {missing[0]}: {', '.join(together)} go together")
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
        with self._named():
            self.instrument.write("*IDN?")
            return str(self.instrument.read()).strip()

    def __contains__(self, word: str) -> bool:
        return word in self._map.attributes

    def missing(self) -> str | None:
        """The first word or preset whose attribute the class lacks, as a key of the bench file's table; nothing is
        asked of the instrument."""
        named = {f"attributes.{word}": self._at(word)[0] for word in self._map.attributes}
        for key, path in {**named, **{f"preset.{path}": path for path in self._map.preset}}.items():
            *owners, name = path.split(".")
            owner = self.instrument
            for part in owners:
                owner = inspect.getattr_static(owner, part, None)
            if owner is None or inspect.getattr_static(owner, name, None) is None:
                return key
        return None

    def reset(self) -> None:
        """Looks at what must have been set up by hand, sends the map's reset messages and sets what it presets.

        Raises
        ------
        InstrumentError
            if the instrument is set up otherwise, or a preset does not read as it was set.
        """
        with self._named():
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
        with self._named():
            return finite(self._get(path), f"{self.role}: {word}") * factor + offset

    def raw(self, word: str) -> Any:
        """A word's value as the class gives it, and the factor that makes it SI."""
        path, factor, _ = self._at(word)
        with self._named():
            return self._get(path), factor

    def set_number(self, word: str, value: float, relative: float = 1e-5) -> None:
        """Sets a word in SI units and reads it back."""
        path, factor, offset = self._at(word)
        with self._named():
            self._set(path, (value - offset) / factor)
        self.confirm_number(word, value, relative)

    def confirm_number(self, word: str, value: float, relative: float = 1e-5) -> None:
        """Reads a word and compares it with what it should be, in SI units."""
        dimension = self._words[word].dimension
        shown = word if dimension is None else f"{word} ({SI_UNIT[dimension]})"
        confirm(self.role, shown, value, self.number(word), relative)

    def switch(self, word: str, on: bool) -> None:
        """Switches an output or a heater, and reads back that it is so."""
        path, _, _ = self._at(word)
        wanted = self._map.on if on else self._map.off
        with self._named():
            self._set(path, wanted)
            found = self._get(path)
        if found != wanted:
            raise InstrumentError(f"{self.role}: {word}: asked for {wanted!r}, the instrument says {found!r}")

    def is_off(self, word: str) -> bool:
        """Whether an output or a heater says that it is off."""
        return bool(self.raw(word)[0] == self._map.off)

    def call(self, word: str, *arguments: Any) -> None:
        """Calls the method that a word stands for, or sets the attribute to its one argument."""
        path, _, _ = self._at(word)
        *owners, name = path.split(".")
        with self._named():
            owner = self._get(".".join(owners)) if owners else self.instrument
            if hasattr(inspect.getattr_static(type(owner), name, None), "__set__"):
                self._set(path, *arguments)
            else:
                getattr(owner, name)(*arguments)

    def check_errors(self, when: str) -> None:
        """The error queue, where it is known how this instrument's is read."""
        if self._error_query is None:
            return
        with self._named():
            self.instrument.write(self._error_query)
            error = first_error(str(self.instrument.read()), f"{self.role} error queue")
        if error:
            raise InstrumentError(f"{self.role}: error queue {when}: {error}")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors name the role, since two instruments may be of one model, and whatever else a class raises is one."""
        try:
            with link_errors(self.role):
                yield
        except InstrumentError as error:
            if isinstance(error, LinkError) or str(error).startswith(f"{self.role}:"):
                raise
            raise InstrumentError(f"{self.role}: {error}") from error
        except Exception as error:
            raise InstrumentError(f"{self.role}: {type(error).__name__}: {error}") from error

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
        # Python would put a new attribute, or one that is no command, into the object: it reads back as it was set.
        if not hasattr(inspect.getattr_static(type(owner), name, None), "__set__"):
            raise InstrumentError(f"{self.role}: {type(owner).__name__} has no attribute {name!r} that can be set")
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
