"""What is exported is what was captured, to the last bit, with units and origin said and nothing overwritten."""

from __future__ import annotations

import builtins
import csv
import json
import math
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from otters_lab.core.errors import DamagedFileError, InputError, RefusedError
from otters_lab.core.files import sha256_file
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.core.provenance import check_sidecar, sidecar_path
from otters_lab.measurements import longform
from otters_lab.measurements.capture import load_capture, open_capture
from otters_lab.measurements.export import export_capture
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path

MakeCapture = Callable[..., Path]


@pytest.fixture
def capture(tmp_path: Path, meta: CaptureMeta, key: Callable[[int], TraceKey], trace: Callable[..., Trace]) -> Path:
    """Twelve traces of unequal length, with a reading that one lacks, an unknown aperture and a text to be quoted."""
    path = tmp_path / "run.h5"
    more = meta.model_copy(update={"reading_units": {"stage": "K", "power": "W/m^2"}})
    with Spool.create(spool_path(path), more) as spool:
        for index in range(12):
            taken = replace(trace(index, 70 if index % 3 == 0 else 60), readings={"stage": 293.15 + index})
            taken = replace(taken, aperture_s=math.nan) if index == 4 else taken
            spool.append(replace(key(index), chip='X1, "left"'), taken)
    seal(spool.path, path, keep_spool=True)
    return path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longform, "BLOCK_SAMPLES", 5 * 70)  # so that twelve traces are three blocks


@pytest.mark.parametrize("unfinished", [False, True], ids=["sealed", "spool"])
def test_netcdf_opens_equal_to_the_capture(capture: Path, tmp_path: Path, unfinished: bool) -> None:
    source = spool_path(capture) if unfinished else capture
    done = export_capture(source, tmp_path / "out.nc")
    with xr.open_dataset(done.path, engine="h5netcdf") as written, open_capture(source) as data:
        assert written.attrs.pop("format") == "otters-lab export"
        del data.attrs["format"]
        xr.testing.assert_identical(written.load(), data.load())
        assert written.current.dtype == np.float64
    sidecar_path(done.path).unlink()
    with pytest.raises(InputError, match="no capture of ours"):
        open_capture(done.path)  # it has no seal, so it is not taken for a capture


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, engine="python")  # which reads floats exactly


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize("unfinished", [False, True], ids=["sealed", "spool"])
def test_long_form_holds_every_sample_once_and_no_padding(
    capture: Path, tmp_path: Path, suffix: str, unfinished: bool
) -> None:
    source = spool_path(capture) if unfinished else capture
    done = export_capture(source, tmp_path / f"out{suffix}")
    frame, known = read(done.path), load_capture(capture)
    assert done.rows == len(frame) == known.table["n_samples"].sum()
    assert list(frame.columns) == [
        *("trace", "origin", "chip", "device", "point", "repeat", "kind", "status"),
        *("gate_V", "drive_V", "power_W_m2", "stage_K", "time_s", "current_A"),
    ]
    real = ~np.isnan(known.time_s)
    assert np.array_equal(frame["time_s"], known.time_s[real])
    assert np.array_equal(frame["current_A"], known.current_A[real])
    assert frame["trace"].tolist() == np.repeat(np.arange(12), known.table["n_samples"]).tolist()
    first = frame.groupby("trace").first()
    for exported, own in {"device": "device", "repeat": "repeat", "drive_V": "drive", "stage_K": "stage"}.items():
        assert first[exported].tolist() == known.table[own].tolist()
    assert set(frame["chip"]) == {'X1, "left"'}
    assert set(frame["origin"]) == {"synthetic"}
    assert frame["power_W_m2"].isna().all()


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_table_has_one_row_a_trace_with_all_that_is_known(capture: Path, tmp_path: Path, suffix: str) -> None:
    done = export_capture(capture, tmp_path / f"out{suffix}", table=True)
    frame, known = read(done.path), load_capture(capture).table
    units = {"gate": "gate_V", "drive": "drive_V", "stage": "stage_K", "power": "power_W_m2"}
    known = known.rename(columns=units)
    assert list(frame.columns) == ["trace", "origin", *known.columns]
    assert math.isnan(frame["aperture_s"][4])
    for name in known.columns:
        if name != "point_id":  # "" here, which CSV cannot tell from unknown
            assert frame[name].equals(known[name].astype(frame[name].dtype)), name


def test_parquet_says_units_and_provenance_and_null_for_what_is_unknown(capture: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    done = export_capture(capture, tmp_path / "out.parquet", table=True)
    table = parquet.read_table(done.path)
    assert table.schema.field("drive_V").metadata == {b"units": b"V"}
    assert table.schema.field("device").type == "int64"
    assert json.loads(table.schema.metadata[b"otters_lab"])["uid"] == done.header.uid
    assert table.column("aperture_s").null_count == 1
    assert parquet.ParquetFile(done.path).num_row_groups == 3


def test_the_sidecar_names_the_capture_and_holds_the_files_hash(capture: Path, tmp_path: Path) -> None:
    done = export_capture(capture, tmp_path / "deep" / "out.csv")
    record = json.loads(sidecar_path(done.path).read_text())
    (source,) = record["inputs"]
    assert (source["role"], source["name"], source["sha256"]) == ("capture", "run.h5", sha256_file(capture))
    assert (record["kind"], record["origin"]) == ("export", "synthetic")
    assert check_sidecar(done.path) == sha256_file(done.path)
    done.path.write_bytes(done.path.read_bytes().replace(b"decay", b"dekay", 1))
    with pytest.raises(DamagedFileError):
        check_sidecar(done.path)


def test_nothing_is_overwritten_and_nothing_half_written_is_left(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(InputError, match="never overwritten"):
        export_capture(capture, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"
    before = set(tmp_path.iterdir())

    def full(*_: Any) -> Iterator[Any]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("otters_lab.measurements.tables.blocks_of", full)
    for name in ("new.csv", "new.parquet"):
        with pytest.raises(RefusedError, match="No space left"):
            export_capture(capture, tmp_path / name)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [("out.xlsx", False, r"ends in \.nc, \.parquet, \.csv"), ("out.nc", True, "--table"), ("out", False, "ends in")],
)
def test_a_name_of_no_format_is_refused(capture: Path, tmp_path: Path, name: str, table: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        export_capture(capture, tmp_path / name, table=table)


def test_without_pyarrow_parquet_says_what_to_install(
    capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return original(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'otters-lab\[parquet\]'"):
        export_capture(capture, tmp_path / "out.parquet")
    export_capture(capture, tmp_path / "out.csv")


def test_a_damaged_capture_is_not_exported(capture: Path, tmp_path: Path) -> None:
    data = bytearray(capture.read_bytes())
    data[len(data) // 2] ^= 1
    capture.write_bytes(data)
    with pytest.raises(DamagedFileError):
        export_capture(capture, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("suffix", [".nc", ".parquet", ".csv"])
def test_memory_does_not_grow_with_the_number_of_traces(
    tmp_path: Path, meta: CaptureMeta, key: Callable[[int], TraceKey], trace: Callable[..., Trace], suffix: str
) -> None:
    path = tmp_path / "long.h5"
    with Spool.create(spool_path(path), meta) as spool:
        for index in range(24):
            spool.append(replace(key(index), repeat=index), replace(trace(0, 6_000), start_utc=""))
    seal(spool.path, path)
    whole = 24 * 6_000 * 16
    export_capture(path, tmp_path / f"warm{suffix}")  # imports and caches are not what is measured
    tracemalloc.start()
    export_capture(path, tmp_path / f"out{suffix}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < whole / 2


def test_csv_is_plain_enough_for_any_reader(capture: Path, tmp_path: Path) -> None:
    done = export_capture(capture, tmp_path / "out.csv")
    with done.path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {14}
    assert b"\r" not in done.path.read_bytes()
