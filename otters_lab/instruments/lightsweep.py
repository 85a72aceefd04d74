"""A light calibration swept with a power meter in the device's place: a dark reading, then one in a pulse.

The power is asked for in the middle of a pulse: the first half is for the light to begin and the sensor to settle, the
second for the reading, which counts only if it is there before the pulse can have ended. How long the sensor takes to
settle, and what the meter averages by its own setting, is known to whoever chooses the width, and to nobody here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from otters_lab.core.clock import Clock, iso_utc
from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.log import progress
from otters_lab.core.protocols import DecaySource
from otters_lab.core.provenance import new_header, reference
from otters_lab.core.quantity import format_quantity, parse_quantity
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.instruments.drivers.own import is_own
from otters_lab.instruments.lightcal import KIND, LightCalibration, LightReading, mean_and_spread, rising_part
from otters_lab.instruments.limits import over, pulse_outside, pulse_over
from otters_lab.instruments.roles import LightSource, PowerMeter, SoftwareStarted
from otters_lab.instruments.session import Session, open_session

# Light first. Nothing of a power meter can be on: it only shows that it is still there.
OFF_ORDER = ("light", "power")


@dataclass(frozen=True)
class LightSweep:
    """What is swept: `repeats` times all drives, rising; one pulse of `width_s` (s) a drive, then `rest_s` (s) of dark.

    Without `rest_s` the light is dark as long as it shone, or longer where the bench limits the duty.
    """

    drives_V: tuple[float, ...]
    width_s: float
    repeats: int
    wavelength_m: float
    spot_area_m2: float
    rest_s: float | None = None

    def dark_s(self, bench: BenchFile) -> float:
        """The dark (s) after each pulse."""
        if self.rest_s is not None:
            return self.rest_s
        return max(self.width_s, self.width_s / (bench.limits.duty or 1.0) - self.width_s)

    def duration_s(self, bench: BenchFile) -> float:
        """How long the pulses and their rests take (s); what the links need comes on top."""
        return self.repeats * len(self.drives_V) * (self.width_s + self.dark_s(bench))


def parse_drives(text: str) -> tuple[float, ...]:
    """Volts from ``"0.5 V:5 V:10"`` (first, last, how many, evenly spaced) or from a rising list ``"0.5 V,1 V,2 V"``.

    Raises
    ------
    ValueError
        for anything else, and for fewer than two drives.
    """
    expected = 'drives like "0.5 V:5 V:10" or "0.5 V,1 V,2 V"'
    parts = [part.strip() for part in text.split(":")]
    if len(parts) > 1:
        if len(parts) != 3 or not (parts[2].isascii() and parts[2].isdigit()):
            raise ValueError(f"found {text!r}, expected {expected}")
        low, high = (parse_quantity(part, "voltage") for part in parts[:2])
        drives = [float(f"{value:.12g}") for value in np.linspace(low, high, int(parts[2]))]
    else:
        drives = [parse_quantity(part.strip(), "voltage") for part in text.split(",")]
    if len(drives) < 2 or any(after <= before for before, after in pairwise(drives)):
        raise ValueError(f"found {text!r}, expected two rising drives or more")
    return tuple(drives)


def started_by_software(bench: BenchFile) -> BenchFile:
    """The bench with its light begun by a command, whatever its `start` says: a power meter gives no trigger.

    Raises
    ------
    InputError
        if the light can only be triggered, or there is no power meter.
    """
    if bench.power is None:
        raise InputError("a light calibration needs a power meter", file=bench.path, expected="a [power] table")
    if bench.backend == "transcript":
        raise InputError("a transcript is replayed by the sweep it is of", file=bench.path, key="backend")
    light = bench.light
    if light.known.sync == "software" or is_own(light.driver):  # what a lab's own offers shows when it is built
        return bench
    if not light.known.sync_uncertainty_s:
        raise InputError(_only_triggered(light.driver), file=bench.path, key="light.driver")
    return bench.model_copy(update={"light": light.model_copy(update={"start": "software"})})


def violations(sweep: LightSweep, bench: BenchFile) -> list[str]:
    """What speaks against a sweep, as sentences that name limit and value; empty if nothing does."""
    numbers = {"width": sweep.width_s, "wavelength": sweep.wavelength_m, "spot area": sweep.spot_area_m2}
    bad = [name for name, value in numbers.items() if not (math.isfinite(value) and value > 0)]
    if bad:
        return [f"{name} is not a number larger than 0" for name in bad]
    rest_s, problems = sweep.dark_s(bench), []
    if sweep.repeats < 1:
        problems.append(f"{sweep.repeats} repeats, expected 1 or more")
    if rest_s < 0:
        problems.append("the rest is shorter than nothing")
    for drive_V in sweep.drives_V:
        problems += pulse_over(drive_V, sweep.width_s, sweep.width_s + max(0.0, rest_s), bench)
        problems += pulse_outside(drive_V, sweep.width_s, bench)
    unsure_s = _begins_within_s(bench)
    if sweep.width_s / 2 < unsure_s:
        problems.append(
            f"pulse width is {format_quantity(sweep.width_s, 's')}, and the power is read in its middle: the light may "
            f"begin {format_quantity(unsure_s, 's')} late"
        )
    return list(dict.fromkeys(problems))


def check_sweep(sweep: LightSweep, bench: BenchFile) -> BenchFile:
    """Refuses a sweep that the bench forbids; returns the bench as it is opened. Touches no instrument.

    Raises
    ------
    InputError
        with the first of `violations`, and as `started_by_software`.
    """
    opened = started_by_software(bench)
    problems = violations(sweep, opened)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(f"the bench refuses: {problems[0]}{more}", file=bench.path)
    return opened


def sweep_light(
    sweep: LightSweep, bench: BenchFile, decays: DecaySource | None = None, clock: Clock | None = None
) -> tuple[LightCalibration, list[str]]:
    """Sweeps the light with light source and power meter alone; the calibration (not written yet), and remarks on it.

    Raises
    ------
    InputError
        as `check_sweep`.
    InstrumentError
        if an instrument failed, a reading fell outside its pulse, or the power does not rise with the drive.
    """
    opened = check_sweep(sweep, bench)
    points = sweep.repeats * len(sweep.drives_V)
    with (
        open_session(opened, OFF_ORDER, decays=decays, clock=clock) as session,
        progress("calibrating the light", points) as advance,
    ):
        meter = str(session.roles["power"].identify())
        readings = measure(sweep, session, advance)
        origin: Literal["measured", "synthetic"] = "measured" if session.origin == "measured" else "synthetic"
        identities = dict(session.identities)
    power = np.array([one.lit_W - one.dark_W for one in readings]).reshape(sweep.repeats, len(sweep.drives_V))
    drives = np.array(sweep.drives_V)
    try:
        keep, notes = rising_part(drives, power.mean(axis=0), "V")
    except ValueError as error:
        raise InstrumentError(f"{bench.path}: {error}; does the light fall on the sensor?") from None
    mean_W, spread_W = mean_and_spread(power[:, keep])
    config = {
        **asdict(sweep),
        "drives_V": list(sweep.drives_V),
        "rest_s": sweep.dark_s(bench),
        "light_begins_within_s": _begins_within_s(opened),
    }
    calibration = LightCalibration(
        header=new_header(
            KIND, origin=origin, inputs=[reference(bench.path, "bench")], instruments=identities, config=config
        ),
        wavelength_m=sweep.wavelength_m,
        spot_area_m2=sweep.spot_area_m2,
        power_meter=meter,
        measured_utc=[one.utc for one in readings[:: len(sweep.drives_V)]],
        drive_unit="V",
        drive=[float(value) for value in drives[keep]],
        power_W=mean_W,
        power_sd_W=spread_W,
        repeats=sweep.repeats,
        readings=readings,
    )
    return calibration, notes


def measure(sweep: LightSweep, session: Session, advance: Callable[[int], None]) -> list[LightReading]:
    """Every reading of a sweep, repeats outermost. After a failure the session takes no more.

    Raises
    ------
    InstrumentError
        as `sweep_light`.
    """
    light, meter = session.roles["light"], session.roles["power"]
    if not isinstance(light, SoftwareStarted):
        raise InputError(_only_triggered(session.file.light.driver), file=session.file.path, key="light.driver")
    readings = []
    try:
        meter.expect(sweep.wavelength_m)
        for repeat in range(sweep.repeats):
            for drive_V in sweep.drives_V:
                session.check()
                readings.append(_one(sweep, session, light, meter, drive_V, repeat))  # type: ignore[arg-type]
                advance(1)
    except BaseException as error:  # a late reply may be on its way: the links are opened anew before they are used
        session.failed = str(error) or type(error).__name__
        raise
    return readings


def _one(
    sweep: LightSweep, session: Session, light: LightSource, meter: PowerMeter, drive_V: float, repeat: int
) -> LightReading:
    """The dark, one pulse, the power in the middle of it, and the rest."""
    assert isinstance(light, SoftwareStarted)
    clock, utc = session.clock, iso_utc(session.clock.utc())
    dark_W = meter.power_W()
    session.safe = False
    light.arm_pulse(drive_V, 0.0, sweep.width_s)
    begun_s = light.fire()
    _sleep_until(clock, begun_s + sweep.width_s / 2)
    asked_s = clock.monotonic_s() - begun_s
    lit_W = meter.power_W()
    answered_s = clock.monotonic_s() - begun_s
    at = format_quantity(drive_V, "V")
    # The pulse begins after the command was handed over, so it ends no earlier than a width after that.
    if answered_s > sweep.width_s:
        raise InstrumentError(
            f"power: the reading at {at} was there {format_quantity(answered_s, 's')} after the pulse of "
            f"{format_quantity(sweep.width_s, 's')} began, so it may be of the dark; the pulse must be longer"
        )
    limit_W = session.file.limits.optical_power
    if limit_W is not None and (found := over("optical power", lit_W - dark_W, limit_W, "W")):
        raise InstrumentError(f"light: at {at} {found[0]}")
    _sleep_until(clock, begun_s + sweep.width_s + _begins_within_s(session.file))
    light.make_safe()
    clock.sleep(sweep.dark_s(session.file))
    return LightReading(
        drive=drive_V, repeat=repeat, utc=utc, dark_W=dark_W, lit_W=lit_W, asked_s=asked_s, answered_s=answered_s
    )


def _sleep_until(clock: Clock, at_s: float) -> None:
    clock.sleep(max(0.0, at_s - clock.monotonic_s()))


def _begins_within_s(bench: BenchFile) -> float:
    """How long after the command the light has begun at the latest (s), as the bench file and the registry know it."""
    return bench.sync.light_latency + bench.light.known.sync_uncertainty_s


def _only_triggered(driver: str) -> str:
    return f"{driver} can be started by a trigger alone, and a power meter gives none: software must start the light"
