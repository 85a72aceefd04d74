"""The switches by the short names that bench files use. Adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Mapping

from otters_lab.instruments.drivers.entries import SwitchDriver

_DRIVERS = "otters_lab.instruments.drivers"
_TWINS = "otters_lab.instruments.virtual"

SWITCHES: Mapping[str, SwitchDriver] = {
    "keithley-2700": SwitchDriver(
        model="Keithley 2700",
        validated="independent driver",
        evidence="PyMeasure's Keithley2700, unmodified on our twin",
        build=f"{_DRIVERS}.keithley2700:build",
        twin=f"{_TWINS}.keithley2700:twin",
    ),
    # 707B-901-01 p. 2-87: slot, row, column. 3700AS-901-01 p. 5-11: slot, number.
    "keithley-707b": SwitchDriver(
        model="Keithley 707B",
        validated="manual",
        evidence="707B-901-01 Rev. B; the error queue as public code reads it",
        build=f"{_DRIVERS}.tsp_switch:build",
        twin=f"{_TWINS}.tsp_switch:twin_707b",
        error_query="print(errorqueue.next())",
        channel=r"[1-6][A-H]\d\d",
    ),
    "keithley-3706a": SwitchDriver(
        model="Keithley 3706A",
        validated="manual",
        evidence="3700AS-901-01 Rev. D, 3700S-901-01 Rev. C; the error queue as public code reads it",
        build=f"{_DRIVERS}.tsp_switch:build",
        twin=f"{_TWINS}.tsp_switch:twin_3706a",
        error_query="print(errorqueue.next())",
        channel=r"[1-6]\d{3}",
    ),
}
