"""The chain from lamp, recipe and bench to a network's evaluation: whole, and with every file altered in turn."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import sha256_file
from otters_lab.core.provenance import sidecar_path
from otters_lab.core.tomlfile import read_toml
from otters_lab.instruments.benchfile import bench_of
from otters_lab.measurements.export import export_capture
from otters_lab.measurements.importers import import_files
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.sweeps.sweep import read_inputs
from otters_lab.training.packed_file import ABOUT, read_packed
from otters_lab.workflows.artefacts import checked_header
from otters_lab.workflows.checking import check_file
from otters_lab.workflows.tracing import Step, trace_back


def by_role(step: Step) -> dict[str, Step]:
    return {found.role: found for found in step.steps()}


MEASURED = {"capture", "light calibration", "recording", "recipe", "bench"}


def altered(data: bytes, place: int, rng: random.Random) -> bytes:
    """The bytes with another one at a place, of the same kind: a digit for a digit, a blank for a blank."""
    old = bytes([data[place]])
    kinds = [kind for kind in (b"0123456789", b" \n\t\r", b"abcdefABCDEF") if old in kind]
    new = rng.choice([byte for byte in (kinds[0] if kinds else bytes(range(256))) if byte != data[place]])
    return data[:place] + bytes([new]) + data[place + 1 :]


def places(data: bytes, count: int, rng: random.Random) -> list[int]:
    return sorted(rng.sample(range(len(data)), count))


def test_an_evaluation_is_traced_to_recipe_bench_and_lamp_and_says_what_code_made_it(made: Path) -> None:
    chain = trace_back(made / "networks" / "net" / "evaluation.json")
    assert chain.exit_code == 0
    assert [(step.role, step.name, step.state) for step in chain.steps()] == [
        ("", "evaluation.json", "ok"),
        ("checkpoint", "net", "ok"),
        ("calibration", "a1.json", "ok"),
        ("capture", "a1.h5", "ok"),
        ("light calibration", "lamp.json", "ok"),
        ("recording", "lamp.csv", "ok"),
        ("recipe", "own.toml", "ok"),
        ("recipe", "base.toml", "ok"),
        ("bench", "virtual.toml", "ok"),
    ]
    capture = by_role(chain)["capture"].header
    assert capture is not None
    assert capture.origin == "synthetic"
    assert "MODEL 2450" in capture.instruments["meter"]
    for step in chain.steps():
        assert step.header is None or step.header.software.otters_lab


def test_one_altered_byte_in_any_file_of_the_chain_is_found_and_the_file_named(chain: Path) -> None:
    top = chain / "networks" / "net" / "evaluation.json"
    assert trace_back(top).exit_code == 0
    folders = ("instruments", "sweeps", "measurements", "calibration", "networks/net")
    files = [path for folder in folders for path in sorted((chain / folder).rglob("*")) if path.is_file()]
    names = {path.name for path in files}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "training.jsonl", "sites.json", "a1.h5"}
    assert names >= {"otters.prov.json", "calibration.json", "a1.json", "lamp.csv", "lamp.json.prov.json"}
    assert len(files) == 22
    for path in files:
        data, rng = path.read_bytes(), random.Random(path.name)
        for place in places(data, 2, rng):
            path.write_bytes(altered(data, place, rng))
            found = trace_back(top)
            assert found.exit_code == 4, (path, place)
            told = [f"{step.path}: {step.reason}" for step in found.steps() if step.state == "damaged"]
            owner = path.name.removesuffix(".prov.json")
            assert any(f"{owner}: " in line or f"{path.name}: " in line for line in told), (path, place, told)
        path.write_bytes(data)
    assert trace_back(top).exit_code == 0


def test_a_packed_student_is_traced_with_and_without_what_stands_beside_it(chain: Path) -> None:
    student = chain / "networks" / "student.safetensors"
    top = chain / "networks" / "student.evaluation.json"
    assert set(by_role(trace_back(top))) == {"", "checkpoint", "calibration"} | MEASURED
    assert [(step.name, step.state) for step in trace_back(student).steps()][:2] == [
        ("student.safetensors", "ok"),
        ("a1.json", "ok"),
    ]
    for path in (student, sidecar_path(student), top, sidecar_path(top)):
        data, rng = path.read_bytes(), random.Random(path.name)
        for place in places(data, 2, rng):
            path.write_bytes(altered(data, place, rng))
            assert trace_back(top).exit_code == 4, (path, place)
        path.write_bytes(data)
    (chain / "networks" / "net").rename(chain / "elsewhere")  # its sidecar bears the checkpoint's uid, and is none
    assert trace_back(chain / "elsewhere" / "evaluation.json").exit_code == 0
    shutil.rmtree(chain / "elsewhere")
    assert trace_back(top).exit_code == 0


def test_the_committed_student_vouches_for_itself_and_one_without_a_seal_says_that_it_cannot(
    root: Path, tmp_path: Path
) -> None:
    committed = root / "tests" / "benchmarks" / "results" / "sst2_student.safetensors"
    assert trace_back(committed).state == "ok"
    earlier = tmp_path / "earlier.safetensors"  # as they were packed before there was a seal
    save_file(load_file(committed), earlier, metadata={ABOUT: json.dumps(read_packed(committed).about)})
    found = trace_back(earlier)
    assert (found.state, found.header is not None) == ("unchecked", True)


@pytest.mark.parametrize("name", [
    "calibration/a1.json", "instruments/lamp.json", "networks/net/evaluation.json", "networks/student.safetensors",
    "networks/net/otters.prov.json", "measurements/a1.h5"])  # fmt: skip
def test_a_lone_artefact_vouches_for_every_byte_of_itself(chain: Path, name: str) -> None:
    path = chain / name
    sidecar_path(path).unlink(missing_ok=True)
    artefact = path.parent if path.name == "otters.prov.json" else path
    assert checked_header(artefact) is not None
    data, rng = path.read_bytes(), random.Random(name)
    for place in places(data, 10 if path.suffix == ".h5" else 60, rng):
        path.write_bytes(altered(data, place, rng))
        try:
            assert checked_header(artefact) is None  # it no longer says that it is ours, and is bad input
        except DamagedFileError:
            continue


def test_checking_sees_what_tracing_sees(chain: Path) -> None:
    student, evaluation = chain / "networks" / "student.safetensors", chain / "networks" / "student.evaluation.json"
    assert check_file(student, None) == {"kind": "packed student", "summary": "task sst2, its seal matches"}
    assert check_file(evaluation, None)["kind"] == "evaluation"
    for path in (student, evaluation):
        sidecar_path(path).unlink()
        data, rng = path.read_bytes(), random.Random(path.name)
        path.write_bytes(altered(data, len(data) // 2, rng))
        with pytest.raises(DamagedFileError):
            check_file(path, None)


def test_an_altered_calibration_is_told_although_the_checkpoint_holds_an_intact_copy(chain: Path) -> None:
    calibration, net = chain / "calibration" / "a1.json", chain / "networks" / "net"
    calibration.write_bytes(calibration.read_bytes() + b"\n")
    found = trace_back(net)
    assert [(step.name, step.state) for step in found.inputs] == [("calibration.json", "ok"), ("a1.json", "damaged")]
    assert found.inputs[1].path == str(calibration)
    sidecar_path(calibration).unlink()  # nothing says any more what file this was; another of its name may stand here
    assert trace_back(net).exit_code == 0


def test_behind_an_altered_input_the_chain_goes_on_where_its_sidecar_says(lab: Path) -> None:
    capture = lab / "measurements" / "a1.h5"
    capture.write_bytes(capture.read_bytes() + b"\n")
    (lab / "sweeps" / "own.toml").write_text("# altered too\n")
    found = trace_back(lab / "calibration" / "a1.json")
    assert [step.name for step in found.steps() if step.state == "damaged"] == ["a1.h5", "own.toml"]
    assert [step.name for step in found.steps() if step.state == "ok"] == [
        "a1.json", "lamp.json", "lamp.csv", "base.toml", "virtual.toml"]  # fmt: skip


def test_a_lab_s_own_driver_is_part_of_the_chain(lab: Path) -> None:
    """Its code decided what was measured, as the bench file did."""
    driver = lab / "instruments" / "relay.py"
    driver.write_text("class Relay: ...\n")
    text = (lab / "instruments" / "virtual.toml").read_text().partition("\n[virtual]\n")[0]
    text = text.replace('backend = "virtual"', 'backend = "visa"').replace('"keithley-2700"', '"relay.py:Relay"')
    (lab / "instruments" / "own.toml").write_text(text)
    found = read_inputs(load_recipe(lab / "sweeps" / "own.toml"), bench_of(read_toml(lab / "instruments" / "own.toml")))
    assert [(ref.role, ref.name) for ref in found] == [
        ("recipe", "own.toml"), ("recipe", "base.toml"), ("bench", "own.toml"), ("driver", "relay.py")]  # fmt: skip
    assert found[-1].sha256 == sha256_file(driver)


@pytest.mark.parametrize("name", ["a1.parquet", "a1.nc"])
def test_a_lone_export_says_where_it_is_from_and_that_it_cannot_be_checked(lab: Path, name: str) -> None:
    capture = lab / "measurements" / "a1.h5"
    export_capture(capture, lab / name)
    sidecar_path(lab / name).unlink()
    found = trace_back(lab / name)
    assert (found.exit_code, found.state) == (0, "unchecked")
    assert set(by_role(found)) >= {"recipe", "bench"}


@pytest.mark.parametrize("name", ["a1.csv", "a1.csv.prov.json"])
def test_an_export_is_held_against_the_hash_beside_it(lab: Path, name: str) -> None:
    chain = trace_back(lab / "a1.csv")
    assert chain.exit_code == 0
    assert set(by_role(chain)) == {""} | MEASURED
    path = lab / name
    data = path.read_bytes()
    rng = random.Random(name)
    for place in places(data, 4, rng):
        path.write_bytes(altered(data, place, rng))
        assert trace_back(lab / "a1.csv").exit_code == 4


def test_what_is_gone_is_named_and_found_again_elsewhere(lab: Path, tmp_path: Path) -> None:
    away = tmp_path / "away" / "deep"
    away.mkdir(parents=True)
    (lab / "sweeps" / "own.toml").rename(away / "renamed.toml")
    chain = trace_back(lab / "calibration" / "a1.json")
    assert chain.exit_code == 1
    missing = [(step.name, step.reason) for step in chain.steps() if step.state == "missing"]
    assert missing == [("own.toml", "not found; give the folder with --search; its text stands in a1.h5")]
    chain = trace_back(lab / "calibration" / "a1.json", [tmp_path / "away"])
    assert chain.exit_code == 0
    assert chain.inputs[0].inputs[1].path == str(away / "renamed.toml")


def test_a_renamed_capture_is_found_by_its_hash_with_and_without_its_sidecar(lab: Path) -> None:
    capture, renamed = lab / "measurements" / "a1.h5", lab / "measurements" / "first chip.h5"
    capture.rename(renamed)
    sidecar_path(capture).rename(sidecar_path(renamed))
    assert trace_back(lab / "calibration" / "a1.json").exit_code == 0
    sidecar_path(renamed).unlink()
    assert trace_back(lab / "calibration" / "a1.json").exit_code == 0


def test_another_capture_of_the_same_name_is_not_taken_for_an_altered_one(lab: Path) -> None:
    capture = lab / "measurements" / "a1.h5"
    other = import_files([capture], lab / "other.h5").path
    other.replace(capture)
    sidecar_path(other).replace(sidecar_path(capture))
    chain = trace_back(lab / "calibration" / "a1.json")
    assert (chain.exit_code, chain.inputs[0].state) == (1, "missing")


def test_lone_artefacts_are_checked_by_what_is_inside(lab: Path) -> None:
    for name in ("calibration/a1.json", "measurements/a1.h5"):
        sidecar_path(lab / name).unlink()
    assert trace_back(lab / "calibration" / "a1.json").exit_code == 0
    path = lab / "calibration" / "a1.json"
    path.write_text(path.read_text().replace('"window_s": 1', '"window_s": 2'))
    assert trace_back(path).exit_code == 4


def test_a_checkpoint_is_traced_by_its_folder_and_by_its_record_and_holds_its_calibration(chain: Path) -> None:
    net = chain / "networks" / "net"
    for start in (net, net / "otters.prov.json"):
        assert set(by_role(trace_back(start))) == {"", "calibration"} | MEASURED
    (chain / "calibration" / "a1.json").unlink()
    sidecar_path(chain / "calibration" / "a1.json").unlink()
    assert trace_back(net).exit_code == 0
    (net / "calibration.json").unlink()
    found = trace_back(net)
    assert found.exit_code == 4
    assert "calibration.json: is missing" in found.reason


def test_a_spool_that_was_exported_is_said_not_to_be_checkable(tmp_path: Path, lab: Path) -> None:
    with Spool.create(tmp_path / "a.h5.spool", CaptureMeta(origin="measured", chip="X")) as spool:
        from otters_lab.measurements.capture import open_capture
        from otters_lab.measurements.merging import traces_of

        with open_capture(lab / "measurements" / "a1.h5") as data:
            for key, trace in list(traces_of(data.isel(trace=slice(2))))[:2]:
                spool.append(type(key)("X", key.device, 0, key.repeat), type(trace)(**{**vars(trace), "readings": {}}))
    export_capture(tmp_path / "a.h5.spool", tmp_path / "a.csv")
    seal(spool_path(tmp_path / "a.h5"), tmp_path / "a.h5")
    chain = trace_back(tmp_path / "a.csv")
    assert (chain.exit_code, chain.inputs[0].state) == (0, "unchecked")


def test_no_code_of_the_workspace_is_run(lab: Path) -> None:
    (lab / "instruments" / "own.py").write_text(f"open({str(lab / 'ran')!r}, 'w')\n")
    bench = lab / "instruments" / "virtual.toml"
    bench.write_text(bench.read_text().replace("keithley-2450", "own.py:Meter"))
    assert trace_back(lab / "calibration" / "a1.json", [lab]).exit_code == 4  # the bench file was altered
    assert not (lab / "ran").exists()


def test_what_is_no_artefact_is_bad_input(lab: Path) -> None:
    with pytest.raises(InputError, match="carries no provenance"):
        trace_back(lab / "sweeps" / "own.toml")
    with pytest.raises(InputError, match="no such file"):
        trace_back(lab / "none.h5")
    with pytest.raises(InputError, match="not a checkpoint"):
        trace_back(lab)
    with pytest.raises(InputError, match="no such folder"):
        trace_back(lab / "calibration" / "a1.json", [lab / "none"])
