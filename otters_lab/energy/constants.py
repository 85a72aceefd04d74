"""Energy constants: value, unit, node, source; and what has no source is unknown, never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Status = Literal["sourced", "unknown"]


@dataclass(frozen=True)
class Constant:
    """One constant in SI units. `value_J` is None where nothing published gives it.

    `per` says of what: "operation", "bit", "bit and hop", "conversion".
    """

    name: str
    value_J: float | None
    per: str
    node: str
    source: str

    @property
    def status(self) -> Status:
        """ "sourced" or "unknown"."""
        return "unknown" if self.value_J is None else "sourced"


_PJ = 1e-12
_TTFS_TRANSFORMER = "arXiv 2409.08290"
_ADC_SURVEY = "ADC survey bound, hwcomponents-adc 1.0.21"
_CACTI = "CACTI, hwcomponents-cacti 1.0.40"
_HOROWITZ = "Horowitz, ISSCC 2014"
_NOBODY = "no published value found"

_UNKNOWN_DEVICE = (
    Constant("light pulse", None, "window", "-", _NOBODY),
    Constant("device read", None, "level read", "-", _NOBODY),
)

PRESETS: Mapping[str, Mapping[str, Constant]] = {
    name: {constant.name: constant for constant in constants}
    for name, constants in {
        "open22": (
            Constant("accumulate", 0.05448 * _PJ, "operation", "22 nm, 0.80 V", _TTFS_TRANSFORMER),
            Constant("compare", 0.05448 * _PJ, "operation", "22 nm, 0.80 V", _TTFS_TRANSFORMER),
            Constant("multiply-accumulate fp32", None, "operation", "22 nm", _NOBODY),
            Constant("weight read", 0.185 * _PJ, "bit", "22 nm, SRAM of 256 KiB", _CACTI),
            Constant("state write", 0.273 * _PJ, "bit", "22 nm, SRAM of 1 MiB", _CACTI),
            Constant("dense movement", 0.25 * _PJ, "bit and hop", "22 nm", _TTFS_TRANSFORMER),
            Constant("event movement", 3.0 * _PJ, "bit and hop", "normalised to Loihi", _TTFS_TRANSFORMER),
            Constant("ADC conversion", 0.457 * _PJ, "conversion", "22 nm, 4 bit", _ADC_SURVEY),
            *_UNKNOWN_DEVICE,
        ),
        "horowitz45": (
            Constant("accumulate", 0.03 * _PJ, "operation", "45 nm, int8 add", _HOROWITZ),
            Constant("compare", 0.03 * _PJ, "operation", "45 nm, int8 add", _HOROWITZ),
            Constant("multiply-accumulate fp32", 4.6 * _PJ, "operation", "45 nm", _HOROWITZ),
            Constant("weight read", None, "bit", "45 nm", _NOBODY),
            Constant("state write", None, "bit", "45 nm", _NOBODY),
            Constant("dense movement", None, "bit and hop", "45 nm", _NOBODY),
            Constant("event movement", None, "bit and hop", "45 nm", _NOBODY),
            Constant("ADC conversion", None, "conversion", "45 nm", _NOBODY),
            *_UNKNOWN_DEVICE,
        ),
    }.items()
}

# Mean hops of a transformer on a mesh (arXiv 2409.08290).
MEAN_HOPS = 4.75
