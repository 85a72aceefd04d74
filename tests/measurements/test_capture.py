"""Damage is found, whatever bit it is in; what is no capture is told from what is a damaged one."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import sha256_file
from otters_lab.core.protocols import Trace, TraceKey
from otters_lab.core.provenance import sidecar_path
from otters_lab.measurements.capture import load_capture, open_capture
from otters_lab.measurements.layout import SCHEMA_VERSION
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.seal_line import append_seal_line
from otters_lab.measurements.spool import Spool, spool_path

MakeCapture = Callable[..., Path]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("lone", [False, True], ids=["beside its sidecar", "lone"])
def test_any_flipped_bit_is_found(make_capture: MakeCapture, lone: bool) -> None:
    path = make_capture()
    if lone:
        sidecar_path(path).unlink()
    data = path.read_bytes()
    size = 8 * len(data)
    bits = random.Random(1).sample(range(size), 100)
    # some in the HDF5 signature and superblock, and in the seal line
    bits += [*range(0, 8 * 48, 5), *range(size - 8 * 120, size, 13)]
    for bit in bits:
        path.write_bytes(flipped(data, bit))
        for reader in (load_capture, open_capture):
            with pytest.raises(DamagedFileError) as failure:
                reader(path)
            assert failure.value.exit_code == 4
            assert str(path) in str(failure.value)
    path.write_bytes(data)
    load_capture(path)


@pytest.mark.parametrize("lone", [False, True], ids=["beside its sidecar", "lone"])
def test_any_truncation_is_found(make_capture: MakeCapture, lone: bool) -> None:
    path = make_capture()
    if lone:
        sidecar_path(path).unlink()
    data = path.read_bytes()
    for length in [0, 1, 8, len(data) - 1, *random.Random(2).sample(range(len(data)), 30)]:
        path.write_bytes(data[:length])
        with pytest.raises(DamagedFileError):
            load_capture(path)


def test_a_forged_payload_is_found_by_its_digest_even_under_a_new_seal(make_capture: MakeCapture) -> None:
    path = make_capture()
    with h5py.File(path, "r+") as file:
        file["current"][3, 30] *= 1.001
    append_seal_line(path)
    record = json.loads(sidecar_path(path).read_text())
    sidecar_path(path).write_text(json.dumps({**record, "file_sha256": sha256_file(path)}))
    with pytest.raises(DamagedFileError, match="payload digest"):
        load_capture(path)
    sidecar_path(path).unlink()
    with pytest.raises(DamagedFileError, match="payload digest"):
        load_capture(path)


def test_a_sidecar_that_tells_another_story_is_found(make_capture: MakeCapture) -> None:
    path = make_capture()
    record = json.loads(sidecar_path(path).read_text())
    sidecar_path(path).write_text(json.dumps({**record, "origin": "measured"}))
    with pytest.raises(DamagedFileError, match=r"run\.h5\.prov\.json: header: does not match its header_digest"):
        load_capture(path)
    del record["header_digest"]  # as before headers had one
    sidecar_path(path).write_text(json.dumps({**record, "origin": "measured"}))
    with pytest.raises(DamagedFileError, match=r"run\.h5\.prov\.json: is not the header"):
        load_capture(path)
    sidecar_path(path).write_text("{")
    with pytest.raises(DamagedFileError, match="not JSON"):
        load_capture(path)


def test_the_sidecar_of_another_capture_is_found(make_capture: MakeCapture) -> None:
    one, two = make_capture("one.h5"), make_capture("two.h5")
    shutil.copy(sidecar_path(one), sidecar_path(two))
    with pytest.raises(DamagedFileError, match="does not match"):
        load_capture(two)


def test_a_capture_rewritten_by_another_program_is_not_taken_for_sealed(
    make_capture: MakeCapture, tmp_path: Path
) -> None:
    path = make_capture()
    with xr.open_dataset(path, engine="h5netcdf") as dataset:
        dataset.load()
    dataset.to_netcdf(tmp_path / "copy.h5", engine="h5netcdf")
    with pytest.raises(DamagedFileError, match="written by another program"):
        load_capture(tmp_path / "copy.h5")


def test_what_is_no_capture_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_capture(tmp_path / "none.h5")
    with pytest.raises(InputError, match="is a folder"):
        load_capture(tmp_path)
    (tmp_path / "notes.txt").write_text("t (s),I (A)\n")
    with pytest.raises(InputError, match="no capture"):
        open_capture(tmp_path / "notes.txt")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spectrum"] = np.arange(3)
    with pytest.raises(InputError, match="no capture of ours"):
        load_capture(tmp_path / "other.h5")


def test_text_under_the_name_of_a_capture_is_a_damaged_capture(tmp_path: Path) -> None:
    (tmp_path / "run.h5").write_text("these are not the bytes of a capture")
    with pytest.raises(DamagedFileError, match="not an HDF5 file"):
        load_capture(tmp_path / "run.h5")


def test_a_capture_of_a_later_schema_is_refused(make_capture: MakeCapture) -> None:
    path = make_capture()
    sidecar_path(path).unlink()
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    append_seal_line(path)
    with pytest.raises(InputError, match="schema version"):
        load_capture(path)


@pytest.fixture
def both(
    tmp_path: Path, meta: CaptureMeta, key: Callable[[int], TraceKey], trace: Callable[..., Trace]
) -> tuple[Path, Path]:
    """The same traces as a spool and as a sealed capture."""
    path = tmp_path / "run.h5"
    with Spool.create(spool_path(path), meta) as spool:
        for index in range(7):
            spool.append(key(index), trace(index, 60 + index))
    seal(spool_path(path), path, keep_spool=True)
    return spool_path(path), path


def test_a_spool_and_its_capture_open_alike_with_one_call(both: tuple[Path, Path]) -> None:
    spool, sealed = (open_capture(path) for path in both)
    del sealed.attrs["header"]
    xr.testing.assert_identical(spool.load(), sealed.load())
    sealed.close()


def test_samples_are_read_only_when_they_are_used(both: tuple[Path, Path]) -> None:
    for path in both:
        with open_capture(path) as dataset:
            assert not dataset.current.variable._in_memory
            some = dataset.current.isel(trace=[5, 1], sample=slice(3, 20, 4)).values
            assert not dataset.current.variable._in_memory
            one = dataset.current.isel(trace=-1, sample=4).item()
            whole = dataset.current.values
            assert np.array_equal(some, whole[[5, 1], 3:20:4])
            assert one == whole[-1, 4]


def test_a_spool_opens_while_it_is_being_written(
    both: tuple[Path, Path], key: Callable[[int], TraceKey], trace: Callable[..., Trace]
) -> None:
    with Spool.open(both[0]) as writer:
        dataset = open_capture(both[0])
        writer.append(key(7), trace(7))
        assert dataset.sizes["trace"] == 7
        assert np.array_equal(dataset.current[6, :66].values, trace(6, 66).current_A)
        assert open_capture(both[0]).sizes["trace"] == 8


def test_an_unsealed_sweep_is_named_where_its_capture_is_asked_for(both: tuple[Path, Path]) -> None:
    spool, path = both
    path.unlink()
    with pytest.raises(InputError, match=r"has not been sealed, the traces are in run\.h5\.spool"):
        load_capture(path)
    with pytest.raises(InputError, match="not sealed yet"):
        load_capture(spool)
