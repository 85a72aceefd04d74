"""The meters by the short names that bench files use. Adding one is adding an entry."""

from __future__ import annotations

import math
from collections.abc import Mapping

from otters_lab.instruments.drivers.entries import MeterDriver, Validated
from otters_lab.instruments.drivers.options import FILTER_COUNTS
from otters_lab.instruments.drivers.settling import SETTLING_2600
from otters_lab.instruments.drivers.timebase import POINT_APERTURE_S, Timebase

_DRIVERS = "otters_lab.instruments.drivers"
_TWINS = "otters_lab.instruments.virtual"

_OPTIONS_2450 = {
    "wires": ("2", "4"),
    "terminals": ("front", "rear"),
    "output_off": ("normal", "high impedance", "zero", "guard"),
    "filter": FILTER_COUNTS,
}


def _series_2600(name: str, build: str, ranges_A: tuple[float, ...], bias_V: float, evidence: str) -> MeterDriver:
    """A model of the 2600B series. 20 000 readings a second at 0.001 PLC of 60 Hz leave 35 us between apertures."""
    return MeterDriver(
        model=f"Keithley {name}",
        validated="independent driver",
        evidence=evidence,
        build=f"{_DRIVERS}.keithley2600_meter:{build}",
        twin=f"{_TWINS}.keithley2600:twin",
        ranges_A=ranges_A,
        nplc=(0.001, 25.0),
        interval_s=(60e-6, 1e5),
        samples=(1, 60_000),
        bias_V=bias_V,
        compliance_over_range=0.1,
        options={
            "wires": ("2", "4"),
            "terminals": ("rear",),
            "output_off": ("normal", "high impedance", "zero"),
            "filter": FILTER_COUNTS,
        },
        dead_s=35e-6,
        error_query="print(errorqueue.next())",
        settling_s={range_A: time_s for range_A, time_s in SETTLING_2600.items() if range_A in ranges_A},
    )


# 2600BS-901-01 Rev. F. The 2635B and 2636B have a range of 100 pA besides, which is not offered here.
_DECADES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_QCODES_2600 = "QCoDeS's and PyMeasure's Keithley2600, unmodified on our twin; timing, buffer: 2600BS-901-01 Rev. F"
_SERIES_2600 = {
    f"keithley-{name.lower()}": _series_2600(name, build, ranges_A, bias_V, _QCODES_2600)
    for names, build, ranges_A, bias_V in (
        (("2601B", "2602B"), "build", (*_DECADES, 3.0), 40.0),
        (("2611B", "2612B"), "build_2611", (*_DECADES, 1.5), 200.0),
        (("2635B", "2636B"), "build_2635", (1e-9, 1e-8, *_DECADES, 1.5), 200.0),
    )
    for name in names
}

# B2910-90030 Edition 2 and B2900 User's Guide: ranges p. 2-14, aperture p. 4-73 (8 us at 60 Hz is 4.8e-4 cycles),
# buffer p. 4-147. It has no averaging filter; guard and terminals are wired, not set. As with the 2400 the compliance
# bounds the measuring range.
_SERIES_B2900 = {
    f"keysight-{name.lower()}": MeterDriver(
        model=f"Keysight {name}",
        validated="manual",
        evidence="B2910-90030 Edition 2; commands of the trigger output line from sister models",
        build=f"{_DRIVERS}.keysightb2900_meter:build",
        twin=f"{_TWINS}.keysightb2900:twin",
        ranges_A=(1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1.5, 3.0),
        nplc=(4.8e-4, 100.0),
        interval_s=(2e-5, 1e5),
        samples=(1, 100_000),
        bias_V=210.0,
        compliance_over_range=0.106,
        options={
            "wires": ("2", "4"),
            "terminals": ("front",),
            "output_off": ("normal", "high impedance", "zero"),
        },
    )
    for name in ("B2901A", "B2902A")
}


_SCALES_V = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # of a division; those that both scopes have


def _scope(
    model: str, validated: Validated, evidence: str, place: str, timebase: Timebase, samples: int
) -> MeterDriver:
    """An oscilloscope behind an amplifier, triggered by the light; full scale is four divisions each way."""
    return MeterDriver(
        model=model,
        validated=validated,
        evidence=evidence,
        build=f"{_DRIVERS}.{place}_meter:build",
        twin=f"{_TWINS}.{place}:twin",
        ranges_A=(),
        nplc=(0.0, math.inf),
        interval_s=(POINT_APERTURE_S, 1e-2),
        samples=(1, samples),
        bias_V=0.0,
        compliance_over_range=0.0,
        aperture_s=(POINT_APERTURE_S, POINT_APERTURE_S),
        ranges_V=tuple(4 * scale_V for scale_V in _SCALES_V),
        trigger_out=False,
        triggered_by_light=True,
        timebase=timebase,
    )


# Points as PyMeasure lists them for the DSOX1102G, but 62 500, which goes with no step of the time base; depths as it
# lists them for the SDS1000X HD, as far as a record of them is quickly read. An old firmware of the latter does not
# answer the survey's question for errors, as public code found of its sister series.
_SCOPES = {
    "keysight-dsox1102g": _scope(
        "Keysight DSOX1102G",
        "manual",
        "guides of sister models (DSOX1204A, 2000, 4000 X); PyMeasure's KeysightDSOX1102G reads the twin's records",
        "dsox1102g",
        Timebase((100, 250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000), (5e-9, 50.0), centred=False),
        50_000,
    ),
    "siglent-sds1000xhd": _scope(
        "Siglent SDS1000X HD",
        "independent driver",
        "PyMeasure's SDS1000XHD, unmodified on our twin; arming, probe, descriptor: EN11D as public code quotes it",
        "sds1000xhd",
        Timebase((10_000, 100_000, 1_000_000), (1e-8, 100.0), centred=True),
        100_000,
    ),
}

METERS: Mapping[str, MeterDriver] = {
    # Model 2450 Reference Manual, 2450-901-01 Rev. B: p. 6-53, 6-48, TRIGger:TIMer, 6-115, 6-70, 6-71. The buffer takes
    # more than 100 000 readings; more than that in one reply is more than we ask of a link.
    "keithley-2450": MeterDriver(
        model="Keithley 2450",
        validated="independent driver",
        evidence="QCoDeS's Keithley2450, unmodified on our twin; timing, buffer: 2450-901-01 Rev. B",
        build=f"{_DRIVERS}.keithley2450_meter:build",
        twin=f"{_TWINS}.keithley2450:twin",
        ranges_A=(10e-9, 100e-9, 1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0),
        nplc=(0.01, 10.0),
        interval_s=(8e-6, 1e5),
        samples=(1, 100_000),
        bias_V=210.0,
        compliance_over_range=1e-3,
        options=_OPTIONS_2450,
    ),
    # The 2450's command set; ranges of the 2461's manual (p. 8-166), voltage and current limits of the data sheet.
    "keithley-2460": MeterDriver(
        model="Keithley 2460",
        validated="manual",
        evidence="commands of 2450-901-01 Rev. B, ranges of 2461-901-01 Rev. A; the 2460's own manual was not at hand",
        build=f"{_DRIVERS}.keithley2450_meter:build_2460",
        twin=f"{_TWINS}.keithley2450:twin_2460",
        ranges_A=(1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0, 4.0, 5.0, 7.0),
        nplc=(0.01, 10.0),
        interval_s=(8e-6, 1e5),
        samples=(1, 100_000),
        bias_V=105.0,
        compliance_over_range=1e-3,
        options=_OPTIONS_2450,
    ),
    # 2400S-900-01 Rev. K: ranges p. 18-62, NPLC p. 18-11, buffer p. 18-115, trigger delay p. A-3, dead time p. A-6
    # and A-8.
    # A measuring range is no higher than the compliance's own range (p. 18-62), whose full scale is 105 %.
    "keithley-2400": MeterDriver(
        model="Keithley 2400",
        validated="independent driver",
        evidence="PyMeasure's and QCoDeS's Keithley2400, unmodified on our twin; timing, buffer: 2400S-900-01 Rev. K",
        build=f"{_DRIVERS}.keithley2400_meter:build",
        twin=f"{_TWINS}.keithley2400:twin",
        ranges_A=(1e-6, 10e-6, 100e-6, 1e-3, 10e-3, 100e-3, 1.0),
        nplc=(0.01, 10.0),
        interval_s=(0.8e-3, 999.0),
        samples=(1, 2500),
        bias_V=210.0,
        compliance_over_range=0.105,
        options={**_OPTIONS_2450, "guard": ("cable", "ohms")},
        dead_s=0.6e-3,
    ),
    **_SERIES_2600,
    **_SERIES_B2900,
    # Digitising volts behind an amplifier. DMM7510-901-01 Rev. B (the sister model) p. 8-83: aperture 1 us to 1 ms in
    # steps of 1 us, no longer than the sample interval; 1000 to 1e6 samples a second. Ranges as public code lists them;
    # 100 V and more are left out: what an amplifier gives needs none. Samples: as for the 2450. Nobody else's driver
    # digitises: what these show of the twin is its functions, ranges and readings as a multimeter.
    "keithley-dmm6500": MeterDriver(
        model="Keithley DMM6500",
        validated="manual",
        evidence="digitising: DMM7510-901-01 Rev. B, 2461-901-01 (sister models), spelling as in public code; "
        "as a multimeter: QCoDeS's Keithley6500 and PyMeasure's KeithleyDMM6500, unmodified on our twin",
        build=f"{_DRIVERS}.dmm6500_meter:build",
        twin=f"{_TWINS}.dmm6500:twin",
        ranges_A=(),
        nplc=(0.0, math.inf),
        interval_s=(1e-6, 1e-3),
        samples=(1, 100_000),
        bias_V=0.0,
        compliance_over_range=0.0,
        aperture_s=(1e-6, 1e-3),
        ranges_V=(0.1, 1.0, 10.0),
    ),
    **_SCOPES,
    # 6487-901-01 p. 6-5, 7-5, 14-10; 6485-901-01 p. 6-5. Where the two take different numbers of readings or arms, or
    # the page was not at hand, the smaller one stands. Their analog rise times were not at hand.
    "keithley-6485": MeterDriver(
        model="Keithley 6485",
        validated="manual",
        evidence="6485-901-01; trigger model as in 6487-901-01; zero correct and timer as public code sends them",
        build=f"{_DRIVERS}.keithley648x_meter:build_6485",
        twin=f"{_TWINS}.keithley648x:twin_6485",
        ranges_A=(2e-9, 20e-9, 200e-9, 2e-6, 20e-6, 200e-6, 2e-3, 20e-3),
        nplc=(0.01, 50.0),
        interval_s=(1e-3, 99999.999),
        samples=(1, 2000),
        bias_V=0.0,
        compliance_over_range=0.0,
        trigger_out=False,
    ),
    "keithley-6487": MeterDriver(
        model="Keithley 6487",
        validated="manual",
        evidence="6487-901-01; zero correct and timer as public code sends them",
        build=f"{_DRIVERS}.keithley648x_meter:build_6487",
        twin=f"{_TWINS}.keithley648x:twin_6487",
        ranges_A=(2e-9, 20e-9, 200e-9, 2e-6, 20e-6, 200e-6, 2e-3, 20e-3),
        nplc=(0.01, 50.0),
        interval_s=(1e-3, 99999.999),
        samples=(1, 2000),
        bias_V=500.0,
        compliance_over_range=0.0,
        compliances_A=(25e-6, 250e-6, 2.5e-3, 25e-3),
        compliance_bias_V=(500.0, 500.0, 500.0, 10.0),
        trigger_out=False,
    ),
    # 6517B-901-01 Rev. C: p. 14-63, 8-4, 8-5; NPLC, timer and the source's two limits as public code quotes the manual.
    # Neither analog settling (seconds on 20 pA) nor the fastest reading rate is in a number: late readings show in the
    # timestamps. What the compliance means: keithley6517b_meter.
    "keithley-6517b": MeterDriver(
        model="Keithley 6517B",
        validated="independent driver",
        evidence="PyMeasure's Keithley6517B, unmodified on our twin: ammeter, source level, output; timing, buffer, "
        "zero check: 6517B-901-01 Rev. C and public code, not all pages at hand",
        build=f"{_DRIVERS}.keithley6517b_meter:build",
        twin=f"{_TWINS}.keithley6517b:twin",
        ranges_A=(20e-12, 200e-12, 2e-9, 20e-9, 200e-9, 2e-6, 20e-6, 200e-6, 2e-3, 20e-3),
        nplc=(0.01, 10.0),
        interval_s=(1e-3, 99999.999),
        samples=(1, 50_000),
        bias_V=1000.0,
        compliance_over_range=0.0,
        compliances_A=(1e-3, 10e-3),
        compliance_bias_V=(1000.0, 100.0),
        trigger_out=False,
        timestamp_resolution_s=1e-6,
    ),
}
