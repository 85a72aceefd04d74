"""Any CSV can be described by a mapping file; what it states of the recordings stands in the capture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.errors import InputError
from otters_lab.core.files import sha256_file
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.importers import import_files
from otters_lab.measurements.recording import Options

# As a German instrument program might write it: three lines of its own, decimal commas, remarks, no unit of the light.
GERMAN = """Messprogramm 3.1
Datum;12.03.2026

% Zeit in Millisekunden
Zeit;Strom [pA];LED;Temp
0,0;10,5;0;21
10,0;90,5;800;21
% eine Bemerkung
20,0;70,5;0;21
30,0;60,5;0;21
40,0;95,5;900;21
50,0;50,5;0;21
"""

MAPPING = """
delimiter = ";"
decimal = ","
skip_lines = 3
comment = "%"

[columns]
time = { name = "Zeit", unit = "ms" }
current = { name = "Strom", unit = "nA" }
light = { name = "LED", unit = "mV", threshold = "500 mV" }

[constants]
chip = "A7"
device = 5
drive = "5 V"
aperture = "2 ms"
range = "1 uA"
parameters = { gate = "-500 mV", wafer = "12" }
"""


def made(folder: Path, text: str = GERMAN, mapping: str = MAPPING, **more: object) -> Path:
    (folder / "a.csv").write_text(text)
    (folder / "map.toml").write_text(mapping)
    return import_files([folder / "a.csv"], folder / "a.h5", mapping=folder / "map.toml", **more).path  # type: ignore[arg-type]


def test_a_foreign_csv_becomes_traces_in_si_with_what_the_mapping_states(tmp_path: Path) -> None:
    capture = load_capture(made(tmp_path))
    assert capture.time_s[0, :4] == pytest.approx([-0.015, -0.005, 0.005, 0.015])
    assert capture.current_A[0, :4] == pytest.approx([10.5e-9, 90.5e-9, 70.5e-9, 60.5e-9])  # the mapping's unit counts
    assert capture.current_A[1, -1] == pytest.approx(50.5e-9)
    assert len(capture.table) == 2
    row = capture.table.iloc[0]
    assert (row.chip, row.device, row.drive, row.gate, row.wafer) == ("A7", 5, 5.0, -0.5, 12.0)
    assert (row.aperture_s, row.range_A, row.light_level) == (2e-3, 1e-6, 0.8)
    assert row.edge_uncertainty_s == pytest.approx(0.005)
    assert capture.parameter_units == {"gate": "V", "wafer": "1", "drive": "V", "light_level": "V"}


def test_the_mapping_is_an_input_and_its_text_is_kept(tmp_path: Path) -> None:
    header = load_capture(made(tmp_path)).header
    assert [(ref.role, ref.sha256) for ref in header.inputs] == [
        ("recording", sha256_file(tmp_path / "a.csv")),
        ("mapping", sha256_file(tmp_path / "map.toml")),
    ]
    assert header.config["mapping"] == MAPPING


def test_what_a_mapping_leaves_out_is_said(tmp_path: Path) -> None:
    notes = "\n".join(load_capture(made(tmp_path)).attributes["notes"])
    assert "column 'Temp' not used" in notes
    assert "the first 3 lines not read" in notes


def test_chip_and_device_of_the_call_go_before_the_mapping(tmp_path: Path) -> None:
    table = load_capture(made(tmp_path, chip="B", device=2)).table
    assert set(table["chip"]) == {"B"}
    assert set(table["device"]) == {2}


def test_a_width_that_is_known_counts_and_an_edge_is_never_better_known_than_the_samples_show(tmp_path: Path) -> None:
    for uncertainty, expected in (("1 us", 0.005), ("8 ms", 0.008)):
        folder = tmp_path / uncertainty.replace(" ", "")
        folder.mkdir()
        more = f'pulse_width = "9 ms"\nedge_uncertainty = "{uncertainty}"\nchip = "A7"'
        table = load_capture(made(folder, mapping=MAPPING.replace('chip = "A7"', more))).table
        assert table["pulse_width_s"].tolist() == [9e-3] * 2
        assert table["edge_uncertainty_s"].tolist() == pytest.approx([expected] * 2)


NO_LIGHT = """
headings = false
[columns]
time = { name = "1", unit = "s" }
current = { name = "3", unit = "uA" }
[constants]
edges = ["3500 ms", "8.2 s"]
pulse_width = "1 s"
edge_uncertainty = "1 us"
"""


def test_known_edges_take_the_place_of_a_light_column(tmp_path: Path) -> None:
    rows = "\n".join(f"{t},0,{10 + t}" for t in range(12)) + "\n"
    capture = load_capture(made(tmp_path, rows, NO_LIGHT))
    assert capture.time_s[0, :8] == pytest.approx([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5])  # to the rise at 7.2 s
    # from the falling edge before: 4, 5, 6, 7 s are dark, 8 s is lit
    assert capture.time_s[1] == pytest.approx(np.arange(4, 12) - 8.2)
    assert capture.table["plateau_A"].tolist() == pytest.approx([13e-6, 18e-6])
    assert capture.table["baseline_A"][1] == pytest.approx(np.mean([14, 15, 16, 17]) * 1e-6)
    assert capture.table["edge_uncertainty_s"].tolist() == [1e-6] * 2
    assert "light_level" not in capture.table


def test_one_edge_of_unknown_width_has_no_plateau(tmp_path: Path) -> None:
    rows = "\n".join(f"{t},0,{10 + t}" for t in range(12)) + "\n"
    mapping = NO_LIGHT.replace(', "8.2 s"', "").replace('pulse_width = "1 s"\nedge_uncertainty = "1 us"\n', "")
    capture = load_capture(made(tmp_path, rows, mapping))
    (row,) = capture.table.to_dict("records")
    assert math.isnan(row["pulse_width_s"])
    assert math.isnan(row["plateau_A"])
    assert math.isnan(row["edge_uncertainty_s"])
    assert "how well the given edges are known is unknown (a.csv)" in capture.attributes["notes"]


def test_an_edge_outside_the_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"a\.csv: edges: found '8.2 s', expected a time within the recording, 0 s to 5"
    ):
        made(tmp_path, "\n".join(f"{t},0,{10 + t}" for t in range(6)), NO_LIGHT)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('unit = "ms"', 'unit = "mss"', r"map\.toml:8: columns\.time\.unit: found the unit 'mss' \(did you mean"),
        ('aperture = "2 ms"', 'aperature = "2 ms"', r'map\.toml:16: .*unknown key.*did you mean "aperture"'),
        ('aperture = "2 ms"', "aperture = 2", r"map\.toml:16: constants\.aperture: found 2"),
        ('aperture = "2 ms"', 'aperture = "0 s"', "more than 0"),
        ('delimiter = ";"', 'delimiter = ","', "delimiter and decimal mark are both"),
        ('threshold = "500 mV"', 'threshold = "500 mA"', "threshold '500 mA'"),
        ('drive = "5 V"', 'drive = "5 volts"', "constants.drive: found '5 volts'"),
        ('gate = "-500 mV"', 'current = "1 A"', "found the name 'current'"),
        ('light = { name = "LED", unit = "mV", threshold = "500 mV" }', "", "columns.light or constants.edges"),
        ('chip = "A7"', 'edges = ["1 s"]', "columns.light or constants.edges"),
        ('name = "Strom"', 'name = "Sturm"', r"a\.csv: current: no such column; found 'Sturm'"),
        ('unit = "nA"', 'unit = "mV"', r"a\.csv: current: .*a unit of current"),
        ("skip_lines = 3", "skip_lines = 99", "no row of column names"),
        ('decimal = ","', 'decimal = "."', r"a\.csv:6: Zeit: found '0,0', expected a number with a decimal point"),
    ],
)
def test_a_wrong_mapping_is_named_by_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MAPPING
    with pytest.raises(InputError, match=message):
        made(tmp_path, mapping=MAPPING.replace(old, new))
    assert not (tmp_path / "a.h5").exists()


def test_a_point_in_a_number_with_a_decimal_comma_is_refused_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.csv:6: Zeit: found '1\.000', expected a number with a decimal comma"):
        made(tmp_path, GERMAN.replace("0,0;10,5", "1.000;10,5"))


def test_other_encodings_are_read_when_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("t (s);I (µA);LED (V)\n0;1;0\n1;2;5\n2;3;0\n3;3;0\n".encode("latin-1"))
    text = 'columns = { time = { name = "t" }, current = { name = "I" }, light = { name = "LED" } }\n'
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(InputError, match="is not UTF-8 text"):
        import_files([tmp_path / "a.csv"], tmp_path / "a.h5", mapping=tmp_path / "map.toml")
    (tmp_path / "map.toml").write_text('encoding = "latin-1"\n' + text)
    done = import_files([tmp_path / "a.csv"], tmp_path / "a.h5", mapping=tmp_path / "map.toml", options=Options())
    assert load_capture(done.path).current_A[0] == pytest.approx([1e-6, 2e-6, 3e-6, 3e-6])
