"""Captures become one capture: nothing of a trace is lost, and nothing passes for more than it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import sha256_file
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.importers import import_files
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.recording import Options
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path

MakeCapture = Callable[..., Path]


@pytest.fixture
def two(
    tmp_path: Path, meta: CaptureMeta, key: Callable[[int], TraceKey], trace: Callable[..., Trace]
) -> tuple[Path, Path]:
    """Two captures of one plan: one with a reading and a seam, a bad take and a dark record, one longer."""
    made = []
    for number, (readings, n_samples) in enumerate([({"stage": "K"}, 60), ({}, 75)]):
        path = tmp_path / f"{number}.h5"
        with Spool.create(spool_path(path), meta.model_copy(update={"reading_units": readings})) as spool:
            for index in range(6):
                place = replace(key(index), point=index % 4, point_id=f"id{index % 4}", repeat=index // 4)
                taken = trace(index + 10 * number, n_samples - index)
                if readings:
                    taken = replace(taken, readings={"stage": 293.0 + index}, status="late" if index == 2 else "ok")
                    place = replace(place, kind="dark") if index == 5 else place
                    if index == 3:
                        spool.mark_seam("2026-01-31T12:00:30.000000Z", "paused")
                spool.append(place, taken)
        seal(spool.path, path)
        made.append(path)
    return made[0], made[1]


def test_every_trace_is_there_with_its_samples_columns_and_readings(two: tuple[Path, Path], tmp_path: Path) -> None:
    done = import_files(two, tmp_path / "both.h5")
    both, parts = load_capture(done.path), [load_capture(path) for path in two]
    assert done.traces == len(both.table) == 12
    for first, part in zip((0, 6), parts, strict=True):
        rows, width = slice(first, first + 6), part.time_s.shape[1]
        assert np.array_equal(both.time_s[rows, :width], part.time_s, equal_nan=True)
        assert np.array_equal(both.current_A[rows, :width], part.current_A, equal_nan=True)
        assert np.isnan(both.time_s[rows, width:]).all()
        for name in part.table.columns:
            if name not in ("repeat", "stage"):
                assert both.table[name][rows].tolist() == part.table[name].tolist(), name
    assert both.table["stage"][:6].tolist() == [293.0 + index for index in range(6)]
    assert both.table["stage"][6:].isna().all()
    assert both.parameter_units == parts[0].parameter_units
    assert both.reading_units == {"stage": "K"}


def test_repeats_of_a_point_go_on_counting(two: tuple[Path, Path], tmp_path: Path) -> None:
    table = load_capture(import_files(two, tmp_path / "both.h5").path).table
    assert not table.duplicated(["kind", "point", "device", "repeat"]).any()
    first_point = table[(table["point_id"] == "id0") & (table["kind"] == "decay")]
    assert first_point["repeat"].tolist() == [0, 1, 2, 3]


def test_seams_are_kept_and_one_stands_between_the_captures(two: tuple[Path, Path], tmp_path: Path) -> None:
    seams = load_capture(import_files(two, tmp_path / "both.h5").path).seams
    assert [(seam["trace"], seam["why"]) for seam in seams] == [(3, "paused"), (6, "another capture begins: 1.h5")]


def test_inputs_are_named_by_hash_and_what_each_said_is_kept(two: tuple[Path, Path], tmp_path: Path) -> None:
    both = load_capture(import_files(two, tmp_path / "both.h5", note="pooled").path)
    parts = [load_capture(path) for path in two]
    assert [(ref.role, ref.uid, ref.sha256) for ref in both.header.inputs] == [
        ("capture", part.header.uid, sha256_file(part.path)) for part in parts
    ]
    told = both.attributes["merged"]
    assert [(entry["name"], entry["first_trace"], entry["traces"]) for entry in told] == [
        ("0.h5", 0, 6),
        ("1.h5", 6, 6),
    ]
    assert told[0]["recipe"] == '# a recipe\nname = "decay"\n'
    assert told[1]["instruments"] == {"meter": "OTTERS,VIRTUAL-2450,0,1"}
    assert both.attributes["truth"] == parts[0].attributes["truth"]  # both say it


@pytest.mark.parametrize(
    ("origins", "whole"),
    [
        (("measured", "measured"), "measured"),
        (("synthetic", "synthetic"), "synthetic"),
        (("measured", "synthetic"), "synthetic"),
        (("imported", "measured"), "imported"),
        (("replayed", "imported"), "replayed"),
    ],
)
def test_nothing_synthetic_passes_for_measured(
    make_capture: MakeCapture, tmp_path: Path, origins: tuple[str, str], whole: str
) -> None:
    files = [make_capture(f"{number}.h5", origin=origin) for number, origin in enumerate(origins)]
    done = import_files(files, tmp_path / "both.h5")
    capture = load_capture(done.path)
    assert capture.origin == capture.header.origin == whole
    assert [entry["origin"] for entry in capture.attributes["merged"]] == list(origins)
    assert bool(done.notes) == (origins[0] != origins[1])


def test_one_capture_may_be_copied(make_capture: MakeCapture, tmp_path: Path) -> None:
    source = load_capture(make_capture())
    copy = load_capture(import_files([source.path], tmp_path / "copy.h5").path)
    assert copy.table.equals(source.table)
    assert copy.header.uid != source.header.uid
    again = load_capture(import_files([copy.path], tmp_path / "again.h5").path)
    assert again.table.equals(source.table)


def test_a_damaged_input_is_refused_and_leaves_nothing(make_capture: MakeCapture, tmp_path: Path) -> None:
    files = [make_capture("a.h5"), make_capture("b.h5")]
    data = bytearray(files[1].read_bytes())
    data[len(data) // 3] ^= 4
    files[1].write_bytes(data)
    before = set(tmp_path.iterdir())
    with pytest.raises(DamagedFileError, match=r"b\.h5"):
        import_files(files, tmp_path / "both.h5")
    assert set(tmp_path.iterdir()) == before


def test_what_does_not_fit_together_is_refused(
    make_capture: MakeCapture, tmp_path: Path, meta: CaptureMeta, key: Callable[[int], TraceKey],
    trace: Callable[..., Trace],
) -> None:  # fmt: skip
    one = make_capture("a.h5")
    units = make_capture("b.h5", parameter_units={"gate": "V", "drive": "A"})
    with pytest.raises(InputError, match=r"b\.h5: drive: has another unit; found 'A', expected 'V'"):
        import_files([one, units], tmp_path / "both.h5")
    other = tmp_path / "c.h5"
    with Spool.create(spool_path(other), meta) as spool:
        spool.append(replace(key(0), chip="X2"), trace(0))
    seal(spool.path, other)
    with pytest.raises(InputError, match="device 1 is of two chips; found 'chip X2, before it chip X1'"):
        import_files([one, other], tmp_path / "both.h5")
    assert not spool_path(tmp_path / "both.h5").exists()
    (tmp_path / "a.csv").write_text("t (s),I (A),VL (V)\n")
    with pytest.raises(InputError, match="not imported together"):
        import_files([one, tmp_path / "a.csv"], tmp_path / "both.h5")
    with pytest.raises(InputError, match="a capture says them"):
        import_files([one], tmp_path / "both.h5", options=Options(time="t"))
    with pytest.raises(InputError, match="never overwritten"):
        import_files([one], one.with_name("b.h5"))


def test_a_spool_is_no_input(tmp_path: Path, meta: CaptureMeta, trace: Callable[..., Trace]) -> None:
    with Spool.create(tmp_path / "a.h5.spool", meta) as spool:
        spool.append(TraceKey("X1", 1, 0, 0), trace(0))
    with pytest.raises(InputError, match="not sealed yet"):
        import_files([tmp_path / "a.h5.spool"], tmp_path / "both.h5")
