"""A simulated chip that shares no code with the fitter: decays by the published stretched exponential itself."""

from dataclasses import dataclass

import numpy as np
import pytest

from otters_lab.calibration import fit
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool

SWING_A, END_A, DARK_A = 8e-9, 9e-7, 2e-8
BETA, I0 = 0.495, 110.989


@dataclass(frozen=True)
class Truth:
    """What a simulated chip is made of; sd of D, O0 and logit beta."""

    devices: int = 6
    repeats: int = 30
    run_sd: tuple[float, float, float] = (0.005, 0.02, 0.02)  # O0, D, logit beta
    device_sd: tuple[float, float] = (0.05, 0.05)  # D, logit beta
    white: float = 0.005
    sign: float = 1.0  # -1: the current rises after the light
    drift: float = 0.0  # of D, over the whole run
    outlier: tuple[int, int] | None = None  # device, repeat
    swing: float = 1.0  # of SWING_A
    chip: str = "S1"
    chip_seed: int | None = None  # draws the devices; None: as the runs


def simulate(path, truth, seed=0, drives=(5.0,)):
    """Writes and loads a capture of a simulated chip: 300 samples over a window of 1 s, dark and lit ones before."""
    rng = np.random.default_rng(seed)
    of_devices = rng if truth.chip_seed is None else np.random.default_rng([truth.chip_seed, 1])
    offset = of_devices.normal(size=(truth.devices, 2)) * truth.device_sd
    interval, aperture, width = 1 / 300, 1e-3, 0.2
    t = np.arange(-90, 300) * interval + interval / 2
    meta = CaptureMeta(
        origin="synthetic", chip=truth.chip, parameter_units={"drive": "V"}, attributes={"window_s": 1.0}
    )
    path.unlink(missing_ok=True)
    with Spool.create(path.with_suffix(".spool"), meta) as spool:
        total = truth.repeats * truth.devices
        for repeat in range(truth.repeats):
            for order, device in enumerate(rng.permutation(truth.devices)):
                for point, drive in enumerate(drives):
                    trace = _trace(
                        rng, truth, offset[device], t, aperture, width, repeat * truth.devices + order, total
                    )
                    if truth.outlier == (device + 1, repeat):
                        trace = _with_current(trace, trace.current_A + 0.3 * SWING_A * np.sqrt(np.maximum(t, 0)))
                    spool.append(TraceKey(truth.chip, int(device) + 1, point, repeat, {"drive": drive}), trace)
    seal(path.with_suffix(".spool"), path)
    return load_capture(path)


def _trace(rng, truth, offset, t, aperture, width, number, total):
    O0, D, logit = np.array([1.0, 1.0, np.log(BETA / (1 - BETA))]) + rng.normal(size=3) * truth.run_sd
    D = (D + offset[0]) * (1 + truth.drift * number / total)
    beta = 1 / (1 + np.exp(-(logit + offset[1])))
    # tau such that the mean curve falls by 1 over the window, averaged over the aperture by a fine grid
    tau = (-np.log((I0 - 1) / I0)) ** (-1 / beta)
    fine = t[:, None] + aperture * (np.arange(41)[None] / 40 - 0.5)
    value = (O0 - D * I0 * (1 - np.exp(-((np.maximum(fine, 0) / tau) ** beta)))).mean(axis=1)
    current = END_A + truth.sign * truth.swing * SWING_A * np.where(t < 0, O0, value)
    current = np.where(t < -width, DARK_A, current) + truth.white * SWING_A * rng.normal(size=t.size)
    stamp = f"2026-01-01T{8 + number // 600:02d}:{number // 10 % 60:02d}:{number % 10 * 6:02d}.000000Z"
    return Trace(t, current, aperture, 1e-6, width, 1e-5, stamp)


def _with_current(trace, current):
    return Trace(trace.time_s, current, trace.aperture_s, trace.edge_uncertainty_s, trace.pulse_width_s, trace.range_A,
                 trace.start_utc)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _few_laws(few_laws):
    """In every module that does not say otherwise."""


@pytest.fixture(scope="session")
def chip(tmp_path_factory):
    """simulate(truth, seed) -> Capture, in a folder of its own; equal calls share one file."""
    made = {}

    def make(truth=Truth(), seed=0, drives=(5.0,)):
        if (truth, seed, drives) not in made:
            folder = tmp_path_factory.mktemp("chip")
            made[truth, seed, drives] = simulate(folder / "chip.h5", truth, seed, drives)
        return made[truth, seed, drives]

    make.Truth = Truth
    return make


@pytest.fixture(scope="session")
def fitted(chip):
    """fitted(truth, **options of a fit) -> Calibration of that simulated chip; equal calls share one fit."""
    made = {}

    def make(truth=Truth(), **options):
        key = (truth, *sorted(options.items()))
        if key not in made:
            made[key] = fit.fit_captures([chip(truth)], **options)
        return made[key]

    return make
