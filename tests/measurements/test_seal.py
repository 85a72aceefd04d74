"""A sealed capture is what was measured, opens with xarray as it is, and is written whole or not at all."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from otters_lab.core.clock import VirtualClock
from otters_lab.core.errors import DamagedFileError, InputError, RefusedError
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.core.provenance import sidecar_path
from otters_lab.measurements import seal as seal_module
from otters_lab.measurements.capture import load_capture
from otters_lab.measurements.digest import dataset_digest
from otters_lab.measurements.layout import phases
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path

MakeCapture = Callable[..., Path]
MakeTrace = Callable[..., Trace]
MakeKey = Callable[[int], TraceKey]


def digest_of(path: Path) -> str:
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        return dataset_digest(dataset)


def test_xarray_opens_a_capture_as_it_is_with_units_on_every_variable(make_capture: MakeCapture) -> None:
    with xr.open_dataset(make_capture(), engine="h5netcdf") as dataset:
        assert dict(dataset.sizes) == {"trace": 12, "sample": 70}
        assert set(dataset.coords) == {"chip", "device", "point", "repeat", "gate", "drive"}
        assert {str(name): variable.attrs["units"] for name, variable in dataset.variables.items()} == {
            "time": "s",
            "current": "A",
            "aperture": "s",
            "edge_uncertainty": "s",
            "pulse_width": "s",
            "range": "A",
            "baseline": "A",
            "plateau": "A",
            "gate": "V",
            "drive": "V",
            **dict.fromkeys(("chip", "device", "point", "repeat", "kind", "point_id"), "1"),
            **dict.fromkeys(("status", "start_utc", "n_samples"), "1"),
        }
        assert dataset["time"].dims == dataset["current"].dims == ("trace", "sample")
        assert dataset.attrs["origin"] == "synthetic"
        assert dataset.attrs["schema_version"] == 2
        assert dataset.attrs["recipe"] == '# a recipe\nname = "decay"\n'
        assert json.loads(dataset.attrs["instruments"]) == {"meter": "OTTERS,VIRTUAL-2450,0,1"}
        assert json.loads(dataset.attrs["header"])["kind"] == "capture"
        chosen = dataset.where(dataset.device == 3, drop=True)
        assert chosen.sizes["trace"] == 3
        assert set(chosen.drive.values) == {3.0}


def test_every_value_comes_back_exactly(make_capture: MakeCapture, trace: MakeTrace, key: MakeKey) -> None:
    capture = load_capture(make_capture())
    for index in range(12):
        stored, place = trace(index, 70 if index % 3 == 0 else 60), key(index)
        n_samples = len(stored.time_s)
        row = capture.table.iloc[index]
        assert row.n_samples == n_samples
        assert capture.time_s[index, :n_samples].tobytes() == stored.time_s.tobytes()
        assert capture.current_A[index, :n_samples].tobytes() == stored.current_A.tobytes()
        assert np.isnan(capture.current_A[index, n_samples:]).all()
        found = TraceKey(row.chip, row.device, row.point, row["repeat"], {"gate": row.gate, "drive": row.drive})
        assert found == place
        assert (row.status, row.start_utc) == (stored.status, stored.start_utc)
        assert (row.aperture_s, row.pulse_width_s) == (stored.aperture_s, stored.pulse_width_s)
        assert (row.edge_uncertainty_s, row.range_A) == (stored.edge_uncertainty_s, stored.range_A)
        # 20 dark samples, 20 lit ones, of which three touch an edge that is known to 1 us only
        assert row.baseline_A == pytest.approx(stored.current_A[:19].mean(), rel=1e-12)
        assert row.plateau_A == pytest.approx(stored.current_A[21:39].mean(), rel=1e-12)
    assert capture.attributes == {"truth": {"beta": 0.495, "sd": [0.02, 0.005]}}
    assert capture.parameter_units == {"gate": "V", "drive": "V"}
    assert not capture.current_A.flags.writeable


def test_samples_that_span_an_edge_are_neither_dark_nor_lit(trace: MakeTrace) -> None:
    exact = replace(trace(0), edge_uncertainty_s=0.0)
    shifted = replace(exact, time_s=exact.time_s + 1e-3)  # 5 ms apertures: one now spans each edge
    counts = [(np.count_nonzero(p.dark), np.count_nonzero(p.lit)) for p in (phases(exact), phases(shifted))]
    assert counts == [(20, 20), (19, 19)]
    assert not np.any(phases(replace(shifted, pulse_width_s=math.nan)))


def test_what_is_unknown_is_nan_never_zero(tmp_path: Path, meta: CaptureMeta, trace: MakeTrace) -> None:
    path = tmp_path / "a.h5"
    nothing = Trace(np.empty(0), np.empty(0), math.nan, math.nan, math.nan, math.nan, "", "late")
    decay_only = replace(trace(1), time_s=np.arange(60) + 1.0)
    with Spool.create(spool_path(path), meta) as spool:
        spool.append(TraceKey("X1", 1, 0, 0, {"gate": 1.0}), nothing)
        spool.append(TraceKey("X1", 1, 0, 1, {"drive": 2.0}), decay_only)
    seal(spool_path(path), path)
    table = load_capture(path).table
    assert table[["aperture_s", "edge_uncertainty_s", "pulse_width_s", "range_A"]].iloc[0].isna().all()
    assert table[["baseline_A", "plateau_A"]].isna().all(axis=None)
    assert table["n_samples"].tolist() == [0, 60]
    assert np.isnan(table["gate"][1])
    assert np.isnan(table["drive"][0])


def test_the_digest_depends_on_what_was_measured_and_on_nothing_else(make_capture: MakeCapture, tmp_path: Path) -> None:
    one = load_capture(make_capture("one.h5"))
    two = load_capture(make_capture("two.h5", command=["otters-lab", "sweep", "-o", "two.h5"]))
    assert one.header.uid != two.header.uid
    assert one.header.created_utc != two.header.created_utc
    assert one.header.payload_digest == two.header.payload_digest
    assert one.sha256 != two.sha256

    with xr.open_dataset(one.path, engine="h5netcdf") as dataset:
        dataset.load()
    assert dataset_digest(dataset) == one.header.payload_digest
    for variable in dataset.variables.values():
        variable.encoding = {}
    plain = tmp_path / "plain.nc"
    dataset.to_netcdf(plain, engine="h5netcdf", encoding={"current": {"chunksizes": (1, 7)}})
    assert digest_of(plain) == one.header.payload_digest

    changed = [
        dataset.assign(current=dataset.current.copy(data=np.nextafter(dataset.current, 1))),
        dataset.assign(status=dataset.status.copy(data=["ok"] * 11 + ["late"])),
        dataset.assign(device=dataset.device.copy(data=dataset.device.values[::-1])),
        dataset.rename({"gate": "drain"}),
        dataset.assign_attrs(origin="measured"),
        dataset.assign_attrs(attributes='{"truth":{"beta":0.5}}'),
        dataset.isel(trace=slice(0, 11)),
        dataset.assign(gate=dataset.gate.assign_attrs(units="mV")),
    ]
    digests = {dataset_digest(other) for other in changed}
    assert len(digests) == len(changed)
    assert one.header.payload_digest not in digests


def test_the_header_says_where_the_capture_comes_from_inside_and_beside(make_capture: MakeCapture) -> None:
    path = make_capture()
    header = load_capture(path).header
    assert (header.kind, header.origin, header.seeds) == ("capture", "synthetic", {"chip": 7})
    assert header.instruments == {"meter": "OTTERS,VIRTUAL-2450,0,1"}
    assert header.command == ["otters-lab", "sweep"]
    beside = json.loads(sidecar_path(path).read_text())
    assert beside.pop("file_sha256") == load_capture(path).sha256
    assert beside == header.model_dump()


def test_the_clock_given_is_the_clock_recorded(
    tmp_path: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace
) -> None:
    clock = VirtualClock(datetime(2026, 1, 31, 12, tzinfo=UTC))
    path = tmp_path / "a.h5"
    with Spool.create(spool_path(path), meta, clock=clock) as spool:
        spool.append(key(0), trace(0))
    assert seal(spool_path(path), path, clock=clock).created_utc == "2026-01-31T12:00:00.000000Z"


def test_sealing_leaves_the_capture_and_its_sidecar_alone(make_capture: MakeCapture, tmp_path: Path) -> None:
    make_capture()
    assert {file.name for file in tmp_path.iterdir()} == {"run.h5", "run.h5.prov.json"}


@pytest.fixture
def spooled(tmp_path: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace) -> Path:
    path = tmp_path / "run.h5.spool"
    with Spool.create(path, meta) as spool:
        for index in range(3):
            spool.append(key(index), trace(index))
    return path


def test_a_capture_is_never_overwritten_unless_told(make_capture: MakeCapture, spooled: Path, tmp_path: Path) -> None:
    other = make_capture("other.h5")
    before = other.read_bytes()
    with pytest.raises(InputError, match="never overwritten"):
        seal(spooled, other)
    assert other.read_bytes() == before
    assert spooled.exists()
    seal(spooled, other, overwrite=True)
    assert len(load_capture(other).table) == 3


def test_a_sealing_cut_short_after_the_rename_is_finished(spooled: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    header = seal(spooled, path, keep_spool=True)
    sidecar_path(path).unlink()
    assert seal(spooled, path) == header
    assert load_capture(path).header == header
    assert not spooled.exists()


def test_a_spool_that_went_on_after_sealing_is_not_taken_for_sealed(
    spooled: Path, tmp_path: Path, key: MakeKey, trace: MakeTrace
) -> None:
    seal(spooled, tmp_path / "run.h5", keep_spool=True)
    with Spool.open(spooled) as spool:
        spool.append(key(3), trace(3))
    with pytest.raises(InputError, match="never overwritten"):
        seal(spooled, tmp_path / "run.h5")
    assert spooled.exists()


def test_a_partial_file_of_an_earlier_sealing_is_written_anew(spooled: Path, tmp_path: Path) -> None:
    (tmp_path / "run.h5.partial").write_bytes(b"half")
    seal(spooled, tmp_path / "run.h5")
    assert len(load_capture(tmp_path / "run.h5").table) == 3


def test_an_empty_spool_is_not_sealed(tmp_path: Path, meta: CaptureMeta) -> None:
    Spool.create(tmp_path / "a.spool", meta).close()
    with pytest.raises(RefusedError, match="no trace yet"):
        seal(tmp_path / "a.spool", tmp_path / "a.h5")


def test_a_disk_too_full_for_the_capture_is_told_before_hdf5_meets_it(
    spooled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(seal_module.shutil, "disk_usage", lambda path: full)
    with pytest.raises(RefusedError, match=r"all 3 traces are safe in run\.h5\.spool"):
        seal(spooled, tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()
    with Spool.open(spooled) as spool:
        assert len(list(spool.traces())) == 3


def test_a_write_error_keeps_the_spool(spooled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(seal_module, "append_seal_line", failing)
    with pytest.raises(RefusedError, match=r"No space left on device.*all 3 traces are safe"):
        seal(spooled, tmp_path / "run.h5")
    monkeypatch.undo()
    seal(spooled, tmp_path / "run.h5")
    assert len(load_capture(tmp_path / "run.h5").table) == 3


def test_a_file_that_does_not_read_back_as_written_is_not_sealed(
    spooled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_disk(path: Path) -> None:
        import h5py

        with h5py.File(path, "r+") as file:
            file["current"][1, 5] *= 2

    monkeypatch.setattr(seal_module, "append_seal_line", bad_disk)
    with pytest.raises(DamagedFileError, match="does not read back"):
        seal(spooled, tmp_path / "run.h5")
    assert not (tmp_path / "run.h5").exists()
    assert spooled.exists()


def test_attributes_may_be_large_and_in_any_script(
    tmp_path: Path, meta: CaptureMeta, key: MakeKey, trace: MakeTrace
) -> None:
    large = {"devices": [{"ε": i / 7, "名": "x" * 50} for i in range(4000)]}
    path = tmp_path / "a.h5"
    with Spool.create(spool_path(path), meta.model_copy(update={"attributes": large})) as spool:
        spool.append(key(0), trace(0))
    seal(spool_path(path), path)
    assert load_capture(path).attributes == large
