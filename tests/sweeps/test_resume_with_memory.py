"""A sweep of a chip with memory, cut short and resumed, gives what an undisturbed one gives."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.tomlfile import TomlText
from otters_lab.instruments.bench import Bench
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.capture import load_capture
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import recipe_from
from otters_lab.sweeps.sweep import SweepOptions, run_sweep

TEXT = """
devices = "1-2"
repeats = 12
window = "1 s"
light = { drive = ["3 V", "5 V"], width = "50 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "60 ms", decay = "1 s", interval = "20 ms", aperture = "1 ms", range = "10 mA" }
recovery = { dark_time = "1 s" }
"""


@pytest.fixture
def remembering(tmp_path):
    text = (Path(__file__).parents[2] / "instruments" / "virtual.toml").read_text()
    text = text.replace("drift =", "memory = true\ndrift =").replace('current = "10 uA"', 'current = "10 mA"')
    path = tmp_path / "bench.toml"
    path.write_text(text.replace('compliance = "20 uA"', 'compliance = "20 mA"'))
    return load_bench(path)


def test_a_resumed_sweep_equals_an_undisturbed_one(remembering, tmp_path, monkeypatch):
    plan = Plan(recipe_from(TomlText(Path("recipe.toml"), TEXT, tomllib.loads(TEXT))))
    run_sweep(plan, remembering, chip="A1", capture=tmp_path / "straight.h5")
    taken = []
    acquire = Bench.acquire

    def interrupted(self, request):
        taken.append(request)
        if len(taken) == 39:  # of 48: each device has had more pulses than are kept one by one
            raise KeyboardInterrupt
        return acquire(self, request)

    monkeypatch.setattr(Bench, "acquire", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(plan, remembering, chip="A1", capture=tmp_path / "broken.h5")
    monkeypatch.setattr(Bench, "acquire", acquire)
    options = SweepOptions(resume=True)
    result = run_sweep(plan, remembering, chip="A1", capture=tmp_path / "broken.h5", options=options)
    assert result.resumed_from == 38
    straight, broken = load_capture(tmp_path / "straight.h5"), load_capture(tmp_path / "broken.h5")
    np.testing.assert_allclose(broken.current_A, straight.current_A, rtol=1e-9)
    np.testing.assert_array_equal(broken.time_s, straight.time_s)
    assert [(seam["trace"], seam["why"]) for seam in broken.seams] == [(38, "resumed")]
    assert straight.seams == []
    first, last = straight.table["baseline_A"].iloc[[0, -1]]
    assert last > first + 20 * 8e-7  # more than twenty plateaus have piled up
