"""What the tables of all instruments in a bench file have in common, the map of a PyMeasure class among it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from otters_lab.core.errors import closest
from otters_lab.core.quantity import Seconds
from otters_lab.core.tomlfile import StrictModel
from otters_lab.instruments.drivers.entries import AttributeMap, Entry, Value
from otters_lab.instruments.drivers.mapped import is_mapped, map_problems
from otters_lab.instruments.drivers.own import is_own

Positive = Field(gt=0)
NotNegative = Field(ge=0)


def known_driver(drivers: Mapping[str, Entry]) -> Any:
    """A field that takes the short name of a registered driver, a lab's own ``path.py:Class``, or a PyMeasure class."""

    def check(name: str) -> str:
        if name not in drivers and not is_own(name) and not is_mapped(name):
            near = closest(name, drivers)
            hint = f' (did you mean "{near}"?)' if near else ""
            classes = "path.py:Class or pymeasure.instruments.MODULE:Class"
            raise ValueError(
                f"found the driver {name!r}, expected one of {', '.join(sorted(drivers))}, or {classes}{hint}"
            )
        return name

    return AfterValidator(check)


class InstrumentEntry(StrictModel):
    """What every instrument entry says. `identity` must be part of the *IDN? reply, else nothing is done.

    The rest is for an instrument that runs through a PyMeasure class named by `driver`: the map `attributes`, `preset`,
    `reset`, `on` and `off`, as in `AttributeMap`, and `error_query`, the message that takes the oldest entry off its
    error queue.
    """

    kind: ClassVar[str]  # of role, as in `drivers/mapped.py`
    address: str = Field(min_length=1)
    identity: str = Field(min_length=1)
    timeout: Annotated[Seconds, Positive] = 5.0
    driver: str
    attributes: dict[str, str] | None = None
    preset: dict[str, Value] = Field(default_factory=dict)
    reset: list[str] | None = None
    on: Value = True
    off: Value = False
    error_query: str | None = None

    @property
    def known(self) -> Any:
        """What is known of the driver: an `Entry`."""
        raise NotImplementedError

    @property
    def map(self) -> AttributeMap | None:
        """The file's own map, where it gives one."""
        if self.attributes is None:
            return None
        reset = AttributeMap.reset if self.reset is None else tuple(self.reset)
        return AttributeMap(self.driver, self.attributes, self.preset, reset, self.on, self.off)

    def has(self, word: str) -> bool:
        """Whether the file's own map has a word."""
        return self.attributes is not None and word in self.attributes

    @model_validator(mode="after")
    def _map_belongs_to_a_class(self) -> InstrumentEntry:
        if is_mapped(self.driver):
            if self.attributes is None:
                raise ValueError(f"{self.driver} is a PyMeasure class: its [attributes] are missing")
            problems = map_problems(self.kind, self.attributes)
            if problems:
                raise ValueError("; ".join(problems))
            return self
        given = [name for name in ("attributes", "preset", "reset", "on", "off", "error_query")
                 if name in self.model_fields_set]  # fmt: skip
        if given:
            raise ValueError(f"{given[0]} goes with a PyMeasure class, not with {self.driver}")
        return self

    def _needs_abilities(self, abilities: object) -> None:
        """What a driver can do is known, or else stated in the file; never both."""
        known = not (is_own(self.driver) or is_mapped(self.driver))
        if known and abilities is not None:
            raise ValueError(f"the abilities of {self.driver} are known, expected no [abilities]")
        if not known and abilities is None:
            raise ValueError(f"what {self.driver} can do is not known: its [abilities] are missing")
