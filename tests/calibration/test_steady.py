"""Records taken for the noise alone are its source where a capture has them."""

import numpy as np
import pytest

from otters_lab.calibration.noise import estimate_noise
from otters_lab.calibration.select import select
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool

INTERVAL, WHITE = 2e-3, 3e-11


@pytest.fixture
def capture(tmp_path):
    """Two decays, noisier before their edge than the record in the dark and the one in steady light are."""
    rng = np.random.default_rng(1)
    t = (np.arange(-100, 300) + 0.5) * INTERVAL
    spool = tmp_path / "noise.spool"
    with Spool.create(spool, CaptureMeta(origin="synthetic", chip="S", attributes={"window_s": 0.6})) as out:
        for repeat, kind in enumerate(["decay", "decay", "dark", "lit"]):
            still = 0.0 if kind == "dark" else 1e-8
            decay = still * np.exp(-np.maximum(t, 0)) if kind == "decay" else np.where(t < 0, still, 0.0)
            current = decay + (3 if kind == "decay" else 1) * WHITE * rng.normal(size=t.size)
            width = 0.0 if kind == "dark" else 0.2
            trace = Trace(t, current, 1e-3, 1e-6, width, 1e-5, f"2026-01-01T08:00:{repeat:02d}.000000Z")
            out.append(TraceKey("S", 1, 0, repeat, kind=kind), trace)
    seal(spool, tmp_path / "noise.h5")
    return load_capture(tmp_path / "noise.h5")


def test_noise_is_that_of_the_dark_and_lit_records_in_amperes_per_root_hertz(capture):
    chosen = select([capture], None)
    assert chosen.table["kind"].tolist() == ["decay", "decay"]
    segments, source = chosen.steady_segments()
    assert [len(segment) for segment in segments] == [400, 100]  # all of the dark; the plateau of the lit
    assert "records" in source
    noise = estimate_noise(segments, chosen.interval_s, chosen.duration_s, source)
    assert noise.white_density == pytest.approx(WHITE * np.sqrt(2 * INTERVAL), rel=0.15)
    assert noise.band_Hz(0.8) == pytest.approx((0.625, 250.0))
