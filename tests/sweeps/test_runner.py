"""What happens around the traces of a sweep: pauses, budget, recovery, pre-conditioning, adaptive repeats."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.protocols import Trace
from otters_lab.instruments.bench import Bench
from otters_lab.instruments.benchfile import BenchFile
from otters_lab.measurements.capture import Capture, load_capture
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.sweeps.plan import Plan, PlannedTrace
from otters_lab.sweeps.sweep import SweepOptions, check_plan, run_sweep
from tests.sweeps.conftest import GATE, STAGE

MakePlan = Callable[..., Plan]
MakeBench = Callable[..., BenchFile]


def sweep(plan: Plan, bench: BenchFile, path: Path, **options: Any) -> Capture:
    run_sweep(plan, bench, chip="A1", capture=path, options=SweepOptions(**options))
    return load_capture(path)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sends signals to this process while the n-th trace of the sweep is being taken."""

    def at(trace: int, *signals: signal.Signals) -> None:
        acquire, count = Bench.acquire, [0]

        def interrupted(self: Bench, request: Any) -> Trace:
            count[0] += 1
            found = acquire(self, request)
            if count[0] == trace:
                for number in signals:
                    os.kill(os.getpid(), number)
            return found

        monkeypatch.setattr(Bench, "acquire", interrupted)

    return at


class Asked:
    """Answers a pause, and remembers at which trace it was asked and whether the bench was safe."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.at: list[tuple[int, int, int]] = []

    def __call__(self, planned: PlannedTrace) -> Any:
        self.at.append((planned.point, planned.device, planned.repeat))
        return self.answer


# --- pauses -----------------------------------------------------------------------------------------------------------


def test_ctrl_c_pauses_after_the_trace_and_going_on_changes_no_value(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, interrupt: Callable[..., None]
) -> None:
    straight = sweep(plan(), bench_of(), tmp_path / "straight.h5")
    interrupt(5, signal.SIGINT)
    ask = Asked("continue")
    paused = sweep(plan(), bench_of(), tmp_path / "paused.h5", ask=ask)
    assert len(ask.at) == 1
    np.testing.assert_array_equal(paused.current_A, straight.current_A)
    assert paused.header.payload_digest == straight.header.payload_digest
    assert [(seam["trace"], seam["why"]) for seam in paused.seams] == [(5, "paused")]


def test_a_skipped_point_is_left_out_and_the_rest_is_taken(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, interrupt: Callable[..., None]
) -> None:
    interrupt(2, signal.SIGINT)  # in point 0: its third trace comes next
    capture = sweep(plan(), bench_of(), tmp_path / "a.h5", ask=Asked("skip"))
    assert capture.table["point"].tolist() == [0, 0, *[1] * 6]


def test_an_abort_keeps_what_is_there(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, interrupt: Callable[..., None]
) -> None:
    interrupt(4, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        sweep(plan(), bench_of(), tmp_path / "a.h5", ask=Asked("abort"))
    with Spool.open(spool_path(tmp_path / "a.h5")) as spool:
        assert len(spool) == 4
        assert not spool.finished


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
def test_a_second_ctrl_c_and_any_other_signal_ends_the_sweep_at_once(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, interrupt: Callable[..., None], signals: Any
) -> None:
    interrupt(4, *signals)
    ask = Asked("continue")
    with pytest.raises(KeyboardInterrupt):
        sweep(plan(), bench_of(), tmp_path / "a.h5", ask=ask)
    assert ask.at == []
    with Spool.open(spool_path(tmp_path / "a.h5")) as spool:
        assert len(spool) == 3


def test_where_nobody_can_be_asked_the_first_ctrl_c_ends_it(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, interrupt: Callable[..., None]
) -> None:
    interrupt(4, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        sweep(plan(), bench_of(), tmp_path / "a.h5")


# --- budget -----------------------------------------------------------------------------------------------------------


def test_a_budget_ends_the_sweep_and_a_resume_ends_it_as_if_there_had_been_none(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    path, limited = tmp_path / "a.h5", plan('budget = "8 s"')
    with pytest.raises(RefusedError, match="6 of 12 traces"):
        sweep(limited, bench_of(), path)
    resumed = sweep(limited, bench_of(), path, resume=True)
    straight = sweep(plan(), bench_of(), tmp_path / "b.h5")
    np.testing.assert_array_equal(resumed.current_A, straight.current_A)


# --- conditions -------------------------------------------------------------------------------------------------------


def test_gate_and_temperature_are_parameters_and_the_stage_is_read_at_every_trace(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    made = plan('gate = { voltage = ["-1 V", "2 V"] }\ntemperature = { setpoint = ["300 K", "310 K"] }')
    capture = sweep(made, bench_of(GATE, STAGE), tmp_path / "a.h5")
    assert capture.parameter_units == {"drive": "V", "width": "s", "bias": "V", "gate": "V", "temperature": "K"}
    assert capture.reading_units == {"stage_temperature": "K"}
    assert sorted(set(capture.table["gate"])) == [-1.0, 2.0]
    np.testing.assert_allclose(capture.table["stage_temperature"], capture.table["temperature"], atol=0.1)
    assert capture.table["temperature"].is_monotonic_increasing  # it is set once for all repeats


@pytest.mark.parametrize(
    ("added", "tables", "says"),
    [
        ('gate = { voltage = "30 V" }', (GATE,), "gate is 30 V, over the bench's limit of 20 V"),
        ('gate = { voltage = "3 V" }', (), "the bench has no [gate]"),
        ('temperature = { setpoint = "400 K" }', (STAGE,), "temperature is 400 K"),
        ('temperature = { setpoint = "300 K" }', (), "the bench has no [temperature] stage"),
        ('precondition = { gate_pulse = "30 V", gate_width = "1 s" }', (GATE,), "gate pulse is 30 V"),
        ("order = { reference = { every = 3, device = 9 } }", (), "device 9 is not on the switch"),
        ("order = { reference = { every = 3, device = 1, point = 7 } }", (), "point 7"),
    ],
)  # fmt: skip
def test_conditions_that_the_bench_cannot_give_are_refused_before_anything_is_touched(
    plan: MakePlan, bench_of: MakeBench, added: str, tables: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InputError) as failure:
        check_plan(plan(added), bench_of(*tables))
    assert says in str(failure.value)


# --- noise, references ------------------------------------------------------------------------------------------------


def test_dark_and_lit_records_show_the_dark_current_and_the_plateau(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    made = plan("noise = { every = 4 }\norder = { reference = { every = 6, device = 2 } }")
    capture = sweep(made, bench_of(), tmp_path / "a.h5")
    counts = capture.table["kind"].value_counts().to_dict()
    assert counts == {"decay": 12, "reference": 2, "dark": 3, "lit": 3}
    assert (capture.table["status"] == "ok").all()
    dark = capture.table[capture.table["kind"] == "dark"]
    assert dark["plateau_A"].isna().all()
    np.testing.assert_allclose(dark["baseline_A"], 20e-9, rtol=0.01)
    for index in dark.index:
        times = capture.time_s[index][: capture.table["n_samples"][index]]
        assert times.max() < 0
        assert np.ptp(times) == pytest.approx(0.298, abs=5e-3)
    lit = capture.table[capture.table["kind"] == "lit"]
    np.testing.assert_allclose(lit["plateau_A"], 915.7e-9, rtol=0.02)
    np.testing.assert_allclose(lit["pulse_width_s"], 0.05 + 0.2 - 2e-3, rtol=1e-6)


def test_a_grid_keeps_the_samples_nearest_to_it_and_the_values_they_had(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    whole = sweep(plan(), bench_of(), tmp_path / "whole.h5")
    sampling = 'sampling = { dark = "50 ms", decay = "200 ms", interval = "2 ms", aperture = "1 ms", range = "1 uA"'
    for grid in ("quadratic", "log"):
        chosen = sweep(
            plan(sampling=f'{sampling}, grid = "{grid}", points = 20 }}'), bench_of(), tmp_path / f"{grid}.h5"
        )
        n = int(chosen.table["n_samples"][0])
        assert 15 <= np.sum(chosen.time_s[0][:n] > 0) <= 21
        index = np.searchsorted(whole.time_s[0], chosen.time_s[0][:n])
        np.testing.assert_array_equal(chosen.current_A[0][:n], whole.current_A[0][index])
        np.testing.assert_array_equal(chosen.time_s[0][:n], whole.time_s[0][index])


# --- recovery, pre-conditioning ---------------------------------------------------------------------------------------

# With `memory` what earlier pulses left adds up: at 1 s of rest half of it is still there.
MEMORY = {"memory": ("drift =", 'memory = true\ngate_reset = "5 V"\ndrift =')}
WIDE = {"range": ('current = "10 uA"', 'current = "10 mA"'), "limit": ('"20 uA"', '"20 mA"')}
FAST = {"window": ('window = "1 s"', 'window = "1 ms"')}


def test_a_recovery_waits_until_the_dark_current_is_back_or_the_cap_is_reached(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    recovery = 'recovery = { dark_time = "1 s", baseline_within = "10 %", cap = "2000 s", poll = "20 s" }'
    made = plan(recovery=recovery, repeats="repeats = 3", light='light = { drive = "5 V", width = "50 ms" }')
    capture = sweep(made, bench_of(**MEMORY, **FAST), tmp_path / "a.h5")
    assert capture.reading_units == {"recovery_time": "s", "recovery_left": "1"}
    first = capture.table.groupby("device").head(1)
    assert first["recovery_time"].isna().all()
    later = capture.table.drop(first.index)
    assert (later["recovery_time"] > 0).any()
    back = later["recovery_time"] < 2000
    assert back.any()
    assert (later["recovery_left"][back].abs() <= 0.1).all()
    step = first["plateau_A"] - first["baseline_A"]
    worst = (later["baseline_A"][back] - 20e-9).abs().max()
    assert worst < 0.2 * step.min()


def test_what_does_not_come_back_is_waited_for_up_to_the_cap_and_the_trace_says_what_is_left(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    recovery = 'recovery = { dark_time = "1 s", baseline_within = "0.1 %", cap = "10 s" }'
    made = plan(recovery=recovery, light='light = { drive = "5 V", width = "50 ms" }')
    capture = sweep(made, bench_of(**MEMORY, **WIDE), tmp_path / "a.h5")
    later = capture.table[capture.table["recovery_time"].notna()]
    assert len(later) == 3
    assert (later["recovery_time"] >= 10).all()
    assert (later["recovery_left"] > 0.5).all()


def test_a_gate_pulse_before_each_trace_meets_every_device_in_its_dark_state(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    light = 'light = { drive = "5 V", width = "50 ms" }'
    bench = bench_of(GATE, **MEMORY, **WIDE)
    piled = sweep(plan(light=light), bench, tmp_path / "piled.h5")
    pulse = 'precondition = { when = "trace", gate_pulse = "6 V", gate_width = "100 ms" }'
    fresh = sweep(plan(pulse, light=light), bench, tmp_path / "fresh.h5")
    np.testing.assert_allclose(fresh.table["baseline_A"], 20e-9, rtol=0.01)
    assert (piled.table["baseline_A"][3:] > 500e-9).all()
    small = plan(pulse.replace("6 V", "4 V"), light=light)
    assert (sweep(small, bench, tmp_path / "small.h5").table["baseline_A"][3:] > 500e-9).all()


def test_pre_conditioning_a_device_happens_once_and_again_after_a_seam(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, interrupt: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pulses: list[int] = []
    gate_pulse = Bench.gate_pulse
    monkeypatch.setattr(
        Bench, "gate_pulse", lambda self, device, *rest: (pulses.append(device), gate_pulse(self, device, *rest))
    )
    made = plan('precondition = { gate_pulse = "6 V", gate_width = "100 ms" }')
    sweep(made, bench_of(GATE), tmp_path / "a.h5")
    assert sorted(pulses) == [1, 2, 3]
    pulses.clear()
    interrupt(9, signal.SIGINT)
    sweep(made, bench_of(GATE), tmp_path / "b.h5", ask=Asked("continue"))
    assert sorted(pulses[:3]) == sorted(pulses[3:]) == [1, 2, 3]


# --- adaptive ---------------------------------------------------------------------------------------------------------


def test_adaptive_repeats_stop_once_the_mean_is_known_and_the_capture_says_so(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path
) -> None:
    light = 'light = { drive = "5 V", width = "50 ms" }'
    made = plan('adaptive = { error = "1 %", least = 4 }', repeats="repeats = 40", light=light)
    capture = sweep(made, bench_of(), tmp_path / "a.h5")
    counts = capture.table.groupby("device").size()
    assert (counts >= 4).all()
    assert (counts < 40).any()
    assert "biased low" in capture.attributes["adaptive"]
    assert json_plan(capture)["traces"] == 120


def json_plan(capture: Capture) -> dict[str, Any]:
    import json

    import xarray as xr

    with xr.open_dataset(capture.path, engine="h5netcdf") as dataset:
        plan: dict[str, Any] = json.loads(dataset.attrs["plan"])
    return plan


# --- transcripts in the spool -----------------------------------------------------------------------------------------


def test_the_messages_of_a_recorded_sweep_come_with_its_traces(
    plan: MakePlan, bench_of: MakeBench, tmp_path: Path, interrupt: Callable[..., None]
) -> None:
    interrupt(5, signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        sweep(plan(), bench_of(), tmp_path / "a.h5", record=tmp_path / "a.jsonl")
    with Spool.open(spool_path(tmp_path / "a.h5")) as spool:
        stored = list(spool.messages())
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert len(spool_of := lines[: len(stored)]) > 100
    assert stored == spool_of
    assert len(lines) > len(stored)  # the fifth take was not stored, and its messages neither
