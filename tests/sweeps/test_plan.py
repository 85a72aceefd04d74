import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.core.protocols import Trace
from otters_lab.core.tomlfile import TomlText
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe, parse_devices, recipe_from
from otters_lab.sweeps.trial import report_trial

TEXT = """
devices = "1-4"
repeats = 3
window = "1 s"
light = { drive = ["3 V", "5 V"], width = ["100 ms", "200 ms"] }
bias = { voltage = "100 mV" }
sampling = { dark = "60 ms", decay = "1 s", interval = "5 ms", aperture = "1 ms", range = "10 uA" }
recovery = { dark_time = "2 s" }
"""


def plan(text=TEXT):
    return Plan(recipe_from(TomlText(Path("recipe.toml"), text, tomllib.loads(text))))


def test_every_setting_device_and_repeat_is_planned_once():
    planned = list(plan().traces())
    assert len(planned) == len(plan()) == 4 * 4 * 3
    assert len({(trace.kind, trace.point, trace.device, trace.repeat) for trace in planned}) == 48
    assert {trace.request.drive_V for trace in planned} == {3.0, 5.0}


def test_repeats_are_outermost_and_devices_shuffled_anew():
    planned = list(plan().traces())
    assert [trace.repeat for trace in planned] == sorted(trace.repeat for trace in planned)
    orders = [tuple(trace.device for trace in planned[i : i + 4]) for i in range(0, 48, 4)]
    assert all(sorted(order) == [1, 2, 3, 4] for order in orders)
    assert len(set(orders)) > 4


def test_an_order_without_shuffling_is_the_recipe_s():
    fixed = plan(TEXT + "[order]\nshuffle_devices = false\n")
    assert [trace.device for trace in fixed.traces()][:4] == [1, 2, 3, 4]


def test_the_digest_is_of_what_is_set_and_not_of_how_it_is_written():
    base = plan().digest
    assert plan("# remark\n" + TEXT.replace('"1 s"', '"1000 ms"')).digest == base
    assert plan('title = "x"\n' + TEXT).digest == base
    assert plan(TEXT.replace("repeats = 3", "repeats = 4")).digest != base


def test_the_estimated_duration_is_the_sum_of_what_every_trace_takes():
    per_repeat_and_device = sum(0.06 + width + 1 + 2 + 0.1 for width in (0.1, 0.2, 0.1, 0.2))
    assert plan().duration_s == pytest.approx(per_repeat_and_device * 4 * 3)


@given(st.lists(st.integers(1, 60), min_size=1, unique=True))
def test_device_lists_read_back(devices):
    assert parse_devices(",".join(map(str, devices))) == devices


@pytest.mark.parametrize("text", ["", "1-", "-3", "a", "1;2", "3-1", "1,1", "1-3,2", "1.5", "٣", 4])
def test_device_lists_that_are_none_are_refused(text):
    with pytest.raises(ValueError, match=r"expected|found"):
        parse_devices(text)


def test_the_shipped_recipe_is_the_reference_sweep():
    shipped = Plan(load_recipe(Path(__file__).parents[2] / "sweeps" / "decay.toml"))
    assert len(shipped) == 400
    assert shipped.recipe.model.window == 1.0


def make_trace(current, status="ok"):
    t = (np.arange(300) - 99.5) * 5e-3
    return Trace(t, current(t), 1e-3, 1e-6, 0.4, 1e-5, "2026-01-01T00:00:00.000000Z", status)


def test_a_trial_finds_hum_at_the_line_frequency():
    rng = np.random.default_rng(0)
    decay = make_trace(lambda t: 1e-6 * (t > -0.4) + 1e-9 * rng.normal(size=t.size))
    quiet = make_trace(lambda t: 1e-9 * rng.normal(size=t.size))
    hum = make_trace(lambda t: 5e-9 * np.sin(2 * np.pi * 50 * t) + 1e-9 * rng.normal(size=t.size))
    assert report_trial(decay, quiet, 50.0).hum_A < 1e-9
    assert report_trial(decay, hum, 50.0).hum_A == pytest.approx(5e-9, rel=0.1)
    assert report_trial(decay, hum, 25.0).flicker_A == pytest.approx(5e-9, rel=0.1)
    assert any("room light" in warning for warning in report_trial(decay, hum, 25.0).warnings())


def test_a_trial_warns_of_no_light_a_full_range_and_a_flag():
    rng = np.random.default_rng(0)
    full = make_trace(lambda t: 9.9e-6 + 1e-9 * rng.normal(size=t.size), "overflow")
    dark = report_trial(full, full, 50.0)
    words = " ".join(dark.warnings())
    assert "light makes no difference" in words
    assert "range is nearly full" in words
    assert "overflow" in words


# --- loops, references, noise -----------------------------------------------------------------------------------------


def test_a_temperature_stays_put_through_all_repeats():
    warm = plan(TEXT.replace("repeats = 3", "repeats = 2") + '[temperature]\nsetpoint = ["300 K", "320 K"]\n')
    temperatures = [trace.request.temperature_K for trace in warm.traces()]
    assert temperatures == [300.0] * 32 + [320.0] * 32
    inner = plan(
        TEXT
        + '[temperature]\nsetpoint = ["300 K", "320 K"]\n[order]\nnesting = ["light.drive", "temperature.setpoint"]\n'
    )
    first = [trace.request.temperature_K for trace in inner.traces()][:16]
    assert first == [300.0] * 8 + [320.0] * 8


def test_nesting_says_which_loop_is_outermost():
    points = list(plan(TEXT + '[order]\nnesting = ["light.width"]\n').points())
    assert [(p.width_s, p.drive_V) for p in points] == [(0.1, 3), (0.1, 5), (0.2, 3), (0.2, 5)]


def test_innermost_repeats_follow_one_another():
    inner = plan(TEXT + '[order]\nrepeats = "innermost"\n')
    places = [(t.point, t.device, t.repeat) for t in inner.traces()]
    assert len(set(places)) == len(places) == 48
    assert [repeat for _, _, repeat in places] == [0, 1, 2] * 16


def test_references_and_records_of_the_noise_come_between_the_decays():
    mixed = plan(TEXT + "[order]\nreference = { every = 5, device = 2, point = 1 }\n[noise]\nevery = 10\n")
    traces = list(mixed.traces())
    assert len(traces) == len(mixed) == 48 + 9 + 2 * 4
    kinds = [trace.kind for trace in traces]
    assert kinds[:13] == ["decay"] * 5 + ["reference"] + ["decay"] * 5 + ["reference", "dark"]
    keys = [trace.key("A") for trace in traces]
    assert len({(k.kind, k.point, k.device, k.repeat) for k in keys}) == len(keys)
    reference = next(t for t in traces if t.kind == "reference")
    assert (reference.device, reference.point) == (2, 1)
    dark, lit = (next(t for t in traces if t.kind == kind) for kind in ("dark", "lit"))
    assert not dark.request.light
    assert lit.request.light
    decay = next(t for t in traces if t.kind == "decay" and t.point == lit.point)
    assert lit.request.duration_s == pytest.approx(decay.request.duration_s)
    assert lit.request.width_s == pytest.approx(decay.request.width_s + decay.request.decay_s - 5e-3)


def test_a_point_has_the_same_id_in_every_plan_and_another_for_anything_it_sets():
    ids = {trace.point: trace.point_id for trace in plan().traces()}
    assert len(set(ids.values())) == 4
    more = plan(TEXT.replace("repeats = 3", "repeats = 9").replace('"1-4"', '"2"'))
    assert {trace.point: trace.point_id for trace in more.traces()} == ids
    other = plan(TEXT.replace('aperture = "1 ms"', 'aperture = "2 ms"'))
    assert not {trace.point_id for trace in other.traces()} & set(ids.values())


def test_a_plan_of_a_million_points_streams():
    import tracemalloc

    axis = '{ from = "1 V", to = "5 V", points = 1000 }'
    large = plan(TEXT.replace('["3 V", "5 V"]', axis).replace('["100 ms", "200 ms"]', axis.replace("V", "s")))
    assert len(large.grid) == 1_000_000
    tracemalloc.start()
    try:
        for number, trace in enumerate(large.traces()):
            if number == 20_000:
                assert trace.point == 5000
                break
        assert large.point(999_999).width_s == 5.0
        assert large.duration_s > 1e7
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5e6
