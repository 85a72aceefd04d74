"""A capture replayed: its own samples come back, others are interpolated, and nothing is made up."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.errors import InputError, InstrumentError
from otters_lab.core.protocols import DecaySource, Pulse
from otters_lab.measurements.capture import Capture, load_capture
from otters_lab.measurements.importers import import_files
from otters_lab.measurements.recording import Options
from otters_lab.measurements.replay import ReplayedDecays

REFERENCE = Path(__file__).resolve().parents[2] / "measurements" / "reference.h5"


@pytest.fixture(scope="module")
def capture() -> Capture:
    return load_capture(REFERENCE)


def pulse(repeat: int = 0, device: int = 3, drive_V: float = 5.0, width_s: float = 0.2) -> Pulse:
    return Pulse(device, index=repeat + 7, drive_V=drive_V, width_s=width_s, elapsed_s=0.0, repeat=repeat)


def recorded(capture: Capture, device: int, repeat: int) -> tuple[np.ndarray, np.ndarray]:
    row = capture.table.query(f"device == {device} and repeat == {repeat}").index[0]
    return capture.time_s[row], capture.current_A[row]


def test_the_recorded_apertures_give_the_recorded_values_to_the_last_bit(capture: Capture) -> None:
    decays = ReplayedDecays(capture)
    assert isinstance(decays, DecaySource)
    assert decays.origin == "replayed"
    for device, repeat in ((3, 0), (3, 49), (8, 17)):
        t, current = recorded(capture, device, repeat)
        np.testing.assert_array_equal(decays.mean_current_A(pulse(repeat, device), t - 5e-4, t + 5e-4), current)


def test_an_aperture_over_two_recorded_intervals_is_their_mean(capture: Capture) -> None:
    t, current = recorded(capture, 3, 5)
    # An aperture of 1 ms + 2 ms, its middle halfway between two samples 2 ms apart, averages the line between them.
    middle = (t[400:410] + t[401:411]) / 2
    got = ReplayedDecays(capture).mean_current_A(pulse(5), middle - 1.5e-3, middle + 1.5e-3)
    np.testing.assert_allclose(got, (current[400:410] + current[401:411]) / 2, rtol=1e-9)


def test_a_shorter_aperture_is_interpolated_and_a_straight_line_stays_one(capture: Capture) -> None:
    t = capture.time_s
    straight = replace(capture, current_A=2e-7 - 3e-8 * t)
    s, e = np.array([0.0101, 0.5, 0.7]), np.array([0.0102, 0.5004, 0.76])
    got = ReplayedDecays(straight).mean_current_A(pulse(), s, e)
    np.testing.assert_allclose(got, 2e-7 - 3e-8 * (s + e) / 2, rtol=1e-9)


def test_a_time_that_was_not_recorded_is_refused(capture: Capture) -> None:
    decays = ReplayedDecays(capture)
    for begin in (-0.5, 1.2):
        with pytest.raises(InputError, match=r"not recorded.*found .*expected 'within|not recorded"):
            decays.mean_current_A(pulse(), np.array([begin]), np.array([begin + 1e-3]))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (pulse(drive_V=4.0), r"device 3: nothing recorded.*drive 4 V.*point 0: drive 5\.0 V, width 0\.2 s"),
        (pulse(width_s=0.1), r"width 0\.1 s"),
        (pulse(device=9), "no trace of device 9"),
    ],
)
def test_a_pulse_that_was_not_recorded_is_refused(capture: Capture, wrong: Pulse, words: str) -> None:
    with pytest.raises(InputError, match=words):
        ReplayedDecays(capture).mean_current_A(wrong, np.array([0.1]), np.array([0.101]))


def test_points_that_only_the_bias_tells_apart_are_refused(capture: Capture) -> None:
    table = capture.table.copy()
    table["point"] = table["repeat"] % 2
    with pytest.raises(InputError, match="points 0, 1 of device 3"):
        ReplayedDecays(replace(capture, table=table)).repeats(3, 5.0, 0.2)


def test_drive_chooses_the_point_and_the_repeat_counts_within_it(capture: Capture) -> None:
    table = capture.table.copy()
    table["point"] = table["repeat"] % 2
    table["drive"] = np.where(table["point"] == 1, 4.0, 5.0)
    decays = ReplayedDecays(replace(capture, table=table))
    assert decays.repeats(3, 4.0, 0.2) == 25
    t, current = recorded(capture, 3, 7)  # the fourth at 4 V
    np.testing.assert_array_equal(decays.mean_current_A(pulse(3, drive_V=4.0), t - 5e-4, t + 5e-4), current)


def test_after_the_last_repeat_comes_what_was_asked_for(capture: Capture) -> None:
    t, first = recorded(capture, 3, 0)
    apertures = t - 5e-4, t + 5e-4
    with pytest.raises(InstrumentError, match="at its end after 50 repeats"):
        ReplayedDecays(capture).mean_current_A(pulse(50), *apertures)
    loop = ReplayedDecays(capture, at_end="loop")
    np.testing.assert_array_equal(loop.mean_current_A(pulse(50), *apertures), first)
    drawn = [ReplayedDecays(capture, at_end="sample", seed=s).mean_current_A(pulse(50), *apertures) for s in (1, 1, 2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert np.any(drawn[0] != drawn[2])
    known = [recorded(capture, 3, repeat)[1] for repeat in range(50)]
    assert all(any(np.array_equal(one, other) for other in known) for one in drawn)


def test_a_recorded_overflow_is_not_replayed_as_if_it_were_whole(capture: Capture) -> None:
    table = capture.table.copy()
    table.loc[table["repeat"] == 1, "status"] = "overflow"
    decays = ReplayedDecays(replace(capture, table=table))
    with pytest.raises(InstrumentError, match=r"device 3, point 0, repeat 1 cannot be replayed.*overflow"):
        decays.mean_current_A(pulse(1), np.array([0.1]), np.array([0.101]))


def test_the_width_of_an_imported_pulse_is_known_to_its_edges_alone(capture: Capture) -> None:
    table = capture.table.copy()
    table["pulse_width_s"] = 60.016
    table["edge_uncertainty_s"] = 0.01
    decays = ReplayedDecays(replace(capture, table=table))
    assert decays.repeats(3, 5.0, 60.0) == 50
    assert decays.describe()["recorded_edge_uncertainty_s"] == 0.01
    with pytest.raises(InputError, match="nothing recorded"):
        decays.repeats(3, 5.0, 60.05)


def test_an_imports_light_level_is_its_drive_and_what_it_does_not_say_matches_any(capture: Capture) -> None:
    table = capture.table.rename(columns={"drive": "light_level"})
    units = {**capture.parameter_units, "light_level": "V"}
    del units["drive"]
    imported = ReplayedDecays(replace(capture, table=table, parameter_units=units))
    assert imported.repeats(3, 5.0, 0.2) == 50
    with pytest.raises(InputError, match="nothing recorded"):
        imported.repeats(3, 4.0, 0.2)
    silent = ReplayedDecays(replace(capture, table=table, parameter_units={**units, "light_level": "W"}))
    assert silent.repeats(3, 4.0, 0.2) == 50


def test_real_recordings_replay_their_own_samples(tmp_path: Path) -> None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    folder = Path(os.environ.get("OTTERS_LAB_DATA", beside)) / "photocurrent" / "recordings"
    files = sorted(folder.glob("It*.csv"))[:3]
    if not files:
        pytest.skip(f"the photocurrent recordings are not at {folder} (set OTTERS_LAB_DATA)")
    real = load_capture(import_files(files, tmp_path / "real.h5", options=Options(line_Hz=50.0)).path)
    decays = ReplayedDecays(real)
    for row in range(3):
        device, n = int(real.table["device"][row]), int(real.table["n_samples"][row])
        given = Pulse(device, 0, real.table["light_level"][row], 60.0, elapsed_s=0.0)
        t = real.time_s[row, :n]
        np.testing.assert_array_equal(decays.mean_current_A(given, t - 0.01, t + 0.01), real.current_A[row, :n])
