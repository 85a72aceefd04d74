"""Other people's recordings: every falling edge is a trace, polarity is kept, and what is left out is said."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import otters_lab
from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import sha256_file
from otters_lab.measurements.capture import Capture, load_capture
from otters_lab.measurements.importers import import_files
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.recording import Options
from otters_lab.measurements.spool import Spool, spool_path

HEADER = """#Procedure: <lab.procedures.It>
#Parameters:
#\tIrange: 100 uA
#\tNPLC: 2
#\tChip number: 80
#\tTarget T: 25 C
#\tLaser voltage: {drive} V
#\tLaser wavelength: 455
#Metadata:
#\tStart time: 1760371684.5
#Data:
t (s),I (uA),VL (V),Plate T (degC)
"""

# Two pulses of 2 s, uneven sampling: light on in (2, 4) and (7, 9); the current falls after the first, rises after
# the second.
TIMES_S = [0, 1, 2, 3, 4, 5, 6, 7, 7.5, 8, 9.5, 10, 11]
LIGHT_V = [0, 0, 1, 1, 0, 0, 0, 2, 2, 2, 0, 0, 0]
CURRENT_UA = [1, 1, 5, 6, 4, 3, 2, -5, -6, -7, -4, -3, -2]


def recording(path: Path, *, drive: float = 1.5, times=TIMES_S, currents=CURRENT_UA, lights=LIGHT_V) -> Path:
    """A file as PyMeasure writes it: CRLF, and a temperature column that holds nothing."""
    rows = [f"{t},{i},{v},nan" for t, i, v in zip(times, currents, lights, strict=True)]
    text = HEADER.format(drive=drive) + "\n".join(rows) + "\n"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    return path


def test_every_falling_edge_gives_a_trace_with_its_dark_and_lit_samples(tmp_path: Path) -> None:
    imported = import_files([recording(tmp_path / "two.csv")], tmp_path / "two.h5")
    capture = load_capture(imported.path)
    assert imported.traces == 2
    first, second = (capture.table.iloc[i] for i in range(2))
    # the light fell between 3 s and 4 s: the edge stands at 3.5 s, half a second uncertain either way
    assert (first.edge_uncertainty_s, second.edge_uncertainty_s) == (0.5, 0.75)
    assert capture.time_s[0, :7].tolist() == [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5]  # up to the light's next rise
    assert capture.time_s[1, :9].tolist() == [-4.75, -3.75, -2.75, -1.75, -1.25, -0.75, 0.75, 1.25, 2.25]
    assert (first.n_samples, second.n_samples) == (7, 9)  # the second begins at the falling edge before it
    assert (first.pulse_width_s, second.pulse_width_s) == (2.0, 2.25)
    assert (first.baseline_A, first.plateau_A) == pytest.approx((1e-6, 5.5e-6))
    assert second.plateau_A == pytest.approx(-6.5e-6)  # without 7 s, which is as near to the rise as the edge is unsure
    assert np.allclose(capture.current_A[0, 4:7], [4e-6, 3e-6, 2e-6])
    assert np.allclose(capture.current_A[1, 6:9], [-4e-6, -3e-6, -2e-6])  # rises: polarity is kept
    assert first.range_A == pytest.approx(1e-4)
    assert first.start_utc == "2025-10-13T16:08:04.500000Z"
    assert second.start_utc == "2025-10-13T16:08:08.500000Z"


def test_the_aperture_is_nplc_mains_periods(tmp_path: Path) -> None:
    for mains_Hz in (50.0, 60.0):
        out = tmp_path / f"{mains_Hz:.0f}.h5"
        import_files([recording(tmp_path / "a.csv")], out, options=Options(line_Hz=mains_Hz))
        assert load_capture(out).table["aperture_s"].tolist() == [2 / mains_Hz] * 2


def test_settings_come_from_the_header_in_si_and_tell_the_points_apart(tmp_path: Path) -> None:
    files = [recording(tmp_path / f"{i}.csv", drive=drive) for i, drive in enumerate([1.5, 2.5, 1.5])]
    capture = load_capture(import_files(files, tmp_path / "a.h5", device=7).path)
    assert capture.parameter_units == {
        "irange": "A",
        "nplc": "1",
        "laser_voltage": "V",
        "laser_wavelength": "1",  # the file states no unit, so none is invented
        "light_level": "V",
    }
    assert capture.table["laser_voltage"].tolist() == [1.5, 1.5, 2.5, 2.5, 1.5, 1.5]
    assert capture.table["light_level"].tolist() == [1.0, 2.0] * 3
    assert capture.table["irange"].tolist() == pytest.approx([1e-4] * 6)
    assert capture.table["point"].tolist() == [0, 1, 2, 3, 0, 1]
    assert capture.table["repeat"].tolist() == [0, 0, 0, 0, 1, 1]
    assert set(capture.table["device"]) == {7}
    assert set(capture.table["chip"]) == {"80"}


def test_files_are_devices_in_the_order_given_and_inputs_of_the_header(tmp_path: Path) -> None:
    files = [recording(tmp_path / "b.csv"), recording(tmp_path / "a.csv")]
    capture = load_capture(import_files(files, tmp_path / "a.h5", chip="X9").path)
    assert capture.table["device"].tolist() == [1, 1, 2, 2]
    assert set(capture.table["chip"]) == {"X9"}
    assert capture.origin == capture.header.origin == "imported"
    assert [(ref.role, ref.name, ref.sha256) for ref in capture.header.inputs] == [
        ("recording", path.name, sha256_file(path)) for path in files
    ]


def test_what_is_left_out_or_unknown_is_said(tmp_path: Path) -> None:
    lights = [0, 0, 1, 1, 0, 0, 0, 2, 2, 2, 2, 2, 2]
    currents = [1, math.nan, 5, 6, 4, "9.9E37", 2, -5, -6, -7, -4, -3, -2]
    holes = recording(tmp_path / "holes.csv", lights=lights, currents=currents)
    dark = recording(tmp_path / "dark.csv", lights=[0] * 13)
    lit = recording(tmp_path / "lit.csv", lights=[1] * 5 + [0] * 8)
    imported = import_files([holes, dark, lit], tmp_path / "a.h5")
    said = "\n".join(imported.notes)
    assert imported.traces == 2
    assert "column 'Plate T (degC)' not used (all 3 files)" in said
    assert "1 rows without a current reading left out (holes.csv)" in said
    assert "1 overflowed readings left out (holes.csv)" in said
    assert "the light is still on at the end: that pulse has no decay and is left out (holes.csv)" in said
    assert "no falling edge of the light in 'VL (V)': nothing imported (dark.csv)" in said
    assert "the light is on when the recording begins: pulse width unknown (lit.csv)" in said
    assert "aperture unknown: the mains frequency is not in the file (option line_Hz) (all 3 files)" in said
    assert "Target T" in said
    capture = load_capture(imported.path)
    assert capture.attributes["notes"] == imported.notes
    assert capture.table["status"].tolist() == ["overflow", "ok"]
    assert capture.table["n_samples"].tolist() == [5, 13]
    assert capture.table["device"].tolist() == [1, 3]
    assert math.isnan(capture.table["pulse_width_s"][1])
    assert capture.table[["aperture_s"]].isna().all(axis=None)


def test_a_gap_in_the_readings_does_not_move_the_edge(tmp_path: Path) -> None:
    currents = [1, 1, 5, math.nan, math.nan, 3, 2, -5, -6, -7, -4, -3, -2]
    capture = load_capture(import_files([recording(tmp_path / "a.csv", currents=currents)], tmp_path / "a.h5").path)
    assert capture.table["edge_uncertainty_s"][0] == 0.5
    assert capture.time_s[0, :5].tolist() == [-3.5, -2.5, -1.5, 1.5, 2.5]


def test_plain_csv_is_read_by_the_columns_named(tmp_path: Path) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text("elapsed [ms];gate [V];photo [nA];monitor\n0;1;10;0\n10;1;90;0.8\n20;1;70;0.1\n30;1;60;0\n")
    options = Options(time="elapsed", current="photo [nA]", light="monitor", light_threshold=0.5)
    capture = load_capture(import_files([plain], tmp_path / "plain.h5", options=options).path)
    assert capture.time_s[0] == pytest.approx([-0.015, -0.005, 0.005, 0.015])
    assert capture.current_A[0] == pytest.approx([10e-9, 90e-9, 70e-9, 60e-9])
    assert capture.table["pulse_width_s"][0] == pytest.approx(0.01)
    assert capture.table["start_utc"][0] == ""
    assert capture.table["chip"][0] == "unknown"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("t (s),I (A),VL (V)\n0,1,0\n1,1\n", "bad.csv:3", "2 cells"),
        ("t (s),I (A),VL (V)\n0,x,0\n", "bad.csv:2: I (A)", "a number"),
        ("t (s);I (A);VL (V)\n0;1,5;0\n", "bad.csv:2: I (A)", "decimal point, not a comma"),
        ("# a remark\nt (s),I (A),VL (V)\n0,1,0\n2,1,0\n1,1,0\n", "bad.csv:5", "1 s after 2 s"),
        ("t (s),I (A),VL (V)\nnan,1,0\n", "bad.csv:2", "without a time"),
        ("t (s),I (A)\n0,1\n", "bad.csv", "cannot tell the light column"),
        ("t (s),I1 (A),I2 (A),VL (V)\n0,1,1,0\n", "bad.csv", "cannot tell the current column"),
        ("t,I,VL\n0,1,0\n", "bad.csv", "cannot tell the time column"),
        ("t (s),I (A),I (A)\n0,1,0\n", "bad.csv:1", "same name"),
        ("# only remarks\n", "bad.csv", "no row of column names"),
        ("t (s),I (A),VL (V)\n0,1,0\n1,1,0\n", "bad.csv", "no falling edge"),
        ("", "bad.csv", "no row of column names"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(tmp_path: Path, text: str, place: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError) as failure:
        import_files([tmp_path / "bad.csv"], tmp_path / "a.h5")
    assert place in str(failure.value)
    assert message in str(failure.value)
    assert [file.name for file in tmp_path.iterdir()] == ["bad.csv"]


def test_a_wrong_column_option_lists_the_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found 'Id', expected one of t \(s\), I \(uA\)"):
        import_files([recording(tmp_path / "a.csv")], tmp_path / "a.h5", options=Options(current="Id"))
    with pytest.raises(InputError, match="a unit of current"):
        import_files([recording(tmp_path / "a.csv")], tmp_path / "a.h5", options=Options(current="VL"))


def test_text_that_is_not_utf8_and_missing_files_are_bad_input(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"t (s),I (A),VL (V)\n0,1,\xb5\n")
    with pytest.raises(InputError, match=r"a\.csv:2: is not UTF-8"):
        import_files([tmp_path / "a.csv"], tmp_path / "a.h5")
    with pytest.raises(InputError, match="no such file"):
        import_files([tmp_path / "none.csv"], tmp_path / "a.h5")
    with pytest.raises(InputError, match="given twice"):
        import_files([tmp_path / "b.csv", tmp_path / "b.csv"], tmp_path / "a.h5")


def test_an_import_never_overwrites_a_capture_or_the_spool_of_a_sweep(tmp_path: Path, meta: CaptureMeta) -> None:
    file = recording(tmp_path / "a.csv")
    Spool.create(spool_path(tmp_path / "a.h5"), meta).close()
    with pytest.raises(InputError, match="unfinished sweep"):
        import_files([file], tmp_path / "a.h5")
    assert spool_path(tmp_path / "a.h5").exists()
    import_files([file], tmp_path / "b.h5")
    with pytest.raises(InputError, match="never overwritten"):
        import_files([file], tmp_path / "b.h5")


def test_the_rest_of_an_import_cut_short_is_replaced(tmp_path: Path) -> None:
    left = CaptureMeta(origin="imported", chip="80")
    Spool.create(spool_path(tmp_path / "a.h5"), left).close()
    import_files([recording(tmp_path / "a.csv")], tmp_path / "a.h5")
    assert len(load_capture(tmp_path / "a.h5").table) == 2


def test_the_same_files_give_the_same_payload(tmp_path: Path) -> None:
    file = recording(tmp_path / "a.csv")
    digests = {import_files([file], tmp_path / name).header.payload_digest for name in ("1.h5", "2.h5")}
    assert len(digests) == 1


def real_files() -> list[Path]:
    """Photocurrent recordings that are not ours to carry: in OTTERS_LAB_DATA, or in ../shared/data of the checkout."""
    beside = Path(otters_lab.__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("OTTERS_LAB_DATA", beside)) / "photocurrent" / "recordings"
    return sorted(folder.glob("It*.csv"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    files = real_files()
    if not files:
        pytest.skip("the photocurrent recordings are not on this machine (set OTTERS_LAB_DATA to find them)")
    out = tmp_path_factory.mktemp("real") / "real.h5"
    return load_capture(import_files(files, out).path)


def test_the_real_recordings_give_a_trace_each_with_honest_edges(real: Capture) -> None:
    table = real.table
    assert len(table) == 37
    assert table["n_samples"].sum() == sum(
        len(path.read_text().split("Clock (ms)\n")[1].splitlines()) for path in real_files()
    )
    # sampled every 84 ms or so by a computer: the edge is no better known than that
    assert table["edge_uncertainty_s"].between(0.040, 0.065).all()
    assert (table["pulse_width_s"].round(-1).isin([60, 120, 180])).all()
    assert table["aperture_s"].isna().all()
    assert (table["range_A"] == 1e-4).all()
    assert (table["light_level"] == table["laser_voltage"]).all()
    assert set(table["laser_wavelength"]) == {365.0, 385.0, 405.0, 455.0}
    assert set(table["vg"]) == {-1.3, -1.2, -1.0, -0.4, -0.2, 0.5, 1.0}
    assert set(table["chip"]) == {"Alisson 80"}
    assert table["start_utc"].str.startswith("2025-10-1").all()


def test_21_of_the_37_real_currents_rise_after_the_light_goes_off(real: Capture) -> None:
    rising = 0
    for time_s, current_A in zip(real.time_s, real.current_A, strict=True):
        decay = current_A[time_s > 0]
        quarter = len(decay) // 4
        rising += decay[-quarter:].mean() > decay[:quarter].mean()
    assert rising == 21


def test_the_real_capture_opens_with_xarray_and_keeps_every_number_of_a_file(real: Capture) -> None:
    path = real_files()[0]
    numbers = np.array(
        [row.split(",")[:2] for row in path.read_text().split("Clock (ms)\n")[1].splitlines()], dtype=np.float64
    )
    with xr.open_dataset(real.path, engine="h5netcdf") as dataset:
        n_samples = int(dataset.n_samples[0])
        assert np.array_equal(dataset.current[0, :n_samples], numbers[:, 1])
        assert np.ptp(dataset.time[0, :n_samples].values - numbers[:, 0]) < 1e-12
        assert {variable.attrs.get("units") for variable in dataset.variables.values()} == {"s", "A", "V", "1"}


def test_a_recording_given_as_a_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no capture"):
        load_capture(recording(tmp_path / "a.csv"))
    with pytest.raises(DamagedFileError, match="not an HDF5 file"):
        load_capture(recording(tmp_path / "a.h5"))
