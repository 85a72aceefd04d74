"""Before the hours begin: a record in the dark and one decay. Is the range right, is there light, hum, room light?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from otters_lab.core.protocols import Array, DecaySource, Trace
from otters_lab.instruments.bench import open_bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.signal import dark_A, drop_A, noise_A


@dataclass(frozen=True)
class TrialReport:
    """What one trace shows; None where it has no samples to say it.

    range_use : largest |current| as a share of the range. signal_to_noise : drop over the decay / sd of one reading.
    hum_A : amplitude at the line frequency in the dark; flicker_A : at twice that, as lamps on the mains give it. None
    where the sampling cannot show that frequency.
    """

    status: str
    samples: int
    range_use: float
    baseline_A: float | None
    plateau_A: float | None
    drop_A: float | None
    noise_A: float | None
    signal_to_noise: float | None
    hum_A: float | None
    flicker_A: float | None
    edge_uncertainty_s: float

    def warnings(self) -> list[str]:
        """What to mend before a sweep is started."""
        found = []
        if self.status != "ok":
            found.append(f"the take is flagged: {self.status}")
        if self.range_use > 0.95:
            found.append("the range is nearly full: choose a larger one")
        if self.range_use < 0.01:
            found.append("less than 1 % of the range is used: choose a smaller one")
        if self.signal_to_noise is not None and self.signal_to_noise < 20:
            found.append("the decay is less than 20 times the noise of a reading")
        if self.hum_A is not None and self.noise_A is not None and self.hum_A > 2 * self.noise_A:
            found.append("mains hum exceeds the noise: check guard and shielding, or integrate whole line cycles")
        if self.flicker_A is not None and self.noise_A is not None and self.flicker_A > self.noise_A:
            found.append("the dark current flickers at twice the line frequency: room light falls on the chip")
        steps = (self.baseline_A, self.plateau_A, self.noise_A)
        if None not in steps and abs((self.plateau_A or 0.0) - (self.baseline_A or 0.0)) < 5 * (self.noise_A or 0.0):
            found.append("the light makes no difference: check the source, the fibre and the switch")
        return found


def try_once(
    plan: Plan, bench: BenchFile, *, decays: DecaySource | None = None, record: Path | None = None
) -> TrialReport:
    """Takes a record in the dark and the plan's first decay, and judges them; nothing is stored.

    Raises
    ------
    InputError, InstrumentError
        as `Bench.acquire`.
    """
    request = next(plan.traces()).request
    with open_bench(bench, decays=decays, record=record) as open_:
        dark = open_.acquire(replace(request, light=False, grid="linear", grid_points=None))
        trace = open_.acquire(request)
    return report_trial(trace, dark, bench.line_frequency)


def report_trial(trace: Trace, dark_record: Trace, line_frequency_Hz: float) -> TrialReport:
    """Judges one decay and a record in the dark."""
    t, current = trace.time_s, trace.current_A
    half = trace.aperture_s / 2
    dark = dark_A(trace)
    lit = current[(t - half > -trace.pulse_width_s) & (t + half < 0)]
    drop, noise = drop_A(trace), noise_A(trace)
    return TrialReport(
        status=trace.status,
        samples=len(current),
        range_use=float(np.max(np.abs(current), initial=0.0)) / trace.range_A,
        baseline_A=float(np.mean(dark)) if len(dark) else None,
        plateau_A=float(np.mean(lit)) if len(lit) else None,
        drop_A=drop,
        noise_A=noise,
        signal_to_noise=abs(drop) / noise if drop is not None and noise else None,
        hum_A=_amplitude(dark_record.time_s, dark_record.current_A, line_frequency_Hz),
        flicker_A=_amplitude(dark_record.time_s, dark_record.current_A, 2 * line_frequency_Hz),
        edge_uncertainty_s=trace.edge_uncertainty_s,
    )


def _amplitude(t: Array, values: Array, frequency_Hz: float) -> float | None:
    """Amplitude of a sine at `frequency_Hz` by least squares; None where the samples cannot show it."""
    if len(values) < 8 or np.median(np.diff(t)) > 0.4 / frequency_Hz or (t[-1] - t[0]) * frequency_Hz < 1:
        return None
    phase = 2 * math.pi * frequency_Hz * t
    design = np.stack([np.cos(phase), np.sin(phase), np.ones_like(t), t - t.mean()], axis=1)
    solution = np.linalg.lstsq(design, values, rcond=None)[0]
    return float(np.hypot(solution[0], solution[1]))
