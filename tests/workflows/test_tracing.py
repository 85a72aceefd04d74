"""The chain from recipe and bench over a capture to a calibration: whole, and with every file altered in turn."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

import otters_lab
from otters_lab.core.errors import InputError
from otters_lab.core.provenance import sidecar_path
from otters_lab.instruments.benchfile import load_bench
from otters_lab.measurements.export import export_capture
from otters_lab.measurements.importers import import_files
from otters_lab.measurements.meta import CaptureMeta
from otters_lab.measurements.seal import seal
from otters_lab.measurements.spool import Spool, spool_path
from otters_lab.sweeps.plan import Plan
from otters_lab.sweeps.recipe import load_recipe
from otters_lab.workflows.fitting import fit_files
from otters_lab.workflows.sweeping import sweep_bench
from otters_lab.workflows.tracing import Step, trace_back

ROOT = Path(otters_lab.__file__).parents[1]

BASE = """
window = "1 s"
light = { drive = "5 V", width = "100 ms" }
bias = { voltage = "100 mV" }
sampling = { dark = "60 ms", decay = "1 s", interval = "5 ms", aperture = "1 ms", range = "1 uA" }
recovery = { dark_time = "1 s" }
"""
RECIPE = 'extends = "base.toml"\ndevices = "1-3"\nrepeats = 4\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a recipe that extends another was swept, fitted and exported."""
    lab = tmp_path_factory.mktemp("made") / "lab"
    for folder in ("instruments", "sweeps", "measurements", "calibration"):
        (lab / folder).mkdir(parents=True)
    shutil.copy(ROOT / "instruments" / "virtual.toml", lab / "instruments")
    (lab / "sweeps" / "base.toml").write_text(BASE)
    (lab / "sweeps" / "own.toml").write_text(RECIPE)
    plan, bench = Plan(load_recipe(lab / "sweeps" / "own.toml")), load_bench(lab / "instruments" / "virtual.toml")
    capture = lab / "measurements" / "a1.h5"
    sweep_bench(plan, bench, chip="A1", capture=capture)
    fit_files([capture], lab / "calibration" / "a1.json")
    export_capture(capture, lab / "a1.csv")
    return lab


@pytest.fixture
def lab(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "lab")
    return tmp_path / "lab"


def by_role(step: Step) -> dict[str, Step]:
    return {found.role: found for found in step.steps()}


CHAIN = {"", "capture", "recipe", "bench"}


def test_a_calibration_is_traced_to_recipe_and_bench(lab: Path) -> None:
    chain = trace_back(lab / "calibration" / "a1.json")
    assert chain.exit_code == 0
    assert [(step.role, step.name, step.state) for step in chain.steps()] == [
        ("", "a1.json", "ok"),
        ("capture", "a1.h5", "ok"),
        ("recipe", "own.toml", "ok"),
        ("recipe", "base.toml", "ok"),
        ("bench", "virtual.toml", "ok"),
    ]
    capture = by_role(chain)["capture"].header
    assert capture is not None
    assert capture.origin == "synthetic"
    assert "MODEL 2450" in capture.instruments["meter"]


FILES = [
    *("calibration/a1.json", "calibration/a1.json.prov.json", "measurements/a1.h5", "measurements/a1.h5.prov.json"),
    *("sweeps/own.toml", "sweeps/base.toml", "instruments/virtual.toml"),
]


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_in_any_file_of_the_chain_is_found(lab: Path, name: str) -> None:
    path = lab / name
    data = path.read_bytes()
    for place in random.Random(name).sample(range(len(data)), 12):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        chain = trace_back(lab / "calibration" / "a1.json")
        assert chain.exit_code == 4, place
        wrong = next(step for step in chain.steps() if step.state == "damaged")
        assert path.name.startswith(wrong.name)  # what is behind it may look wrong too, by an altered sidecar
    path.write_bytes(data)
    assert trace_back(lab / "calibration" / "a1.json").exit_code == 0


@pytest.mark.parametrize("name", ["a1.csv", "a1.csv.prov.json"])
def test_an_export_is_held_against_the_hash_beside_it(lab: Path, name: str) -> None:
    chain = trace_back(lab / "a1.csv")
    assert chain.exit_code == 0
    assert set(by_role(chain)) == CHAIN
    path = lab / name
    data = path.read_bytes()
    at = data.index(b'"sha256"') + 20 if name.endswith(".json") else len(data) // 2
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert trace_back(lab / "a1.csv").exit_code == 4


def test_what_is_gone_is_named_and_found_again_elsewhere(lab: Path, tmp_path: Path) -> None:
    away = tmp_path / "away" / "deep"
    away.mkdir(parents=True)
    (lab / "sweeps" / "own.toml").rename(away / "renamed.toml")
    chain = trace_back(lab / "calibration" / "a1.json")
    assert chain.exit_code == 1
    assert [step.name for step in chain.steps() if step.state == "missing"] == ["own.toml"]
    chain = trace_back(lab / "calibration" / "a1.json", [tmp_path / "away"])
    assert chain.exit_code == 0
    assert chain.inputs[0].inputs[0].path == str(away / "renamed.toml")


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


def test_a_checkpoint_and_its_evaluation_are_traced(lab: Path) -> None:
    """A checkpoint's files need not hold a network for their hashes to be checked."""
    from otters_lab.core.files import canonical_json, pretty_json, sha256_bytes, sha256_file, write_atomically
    from otters_lab.core.provenance import new_header, reference, write_sidecar
    from otters_lab.training.checkpoint_files import PROVENANCE

    folder = lab / "networks" / "digits"
    folder.mkdir(parents=True)
    calibration = lab / "calibration" / "a1.json"
    shutil.copy(calibration, folder / "calibration.json")
    (folder / "config.json").write_text("{}")
    files = {name: sha256_file(folder / name) for name in ("config.json", "calibration.json")}
    uid = json.loads(calibration.read_text())["header"]["uid"]
    digest = sha256_bytes(canonical_json(files))
    header = new_header("checkpoint", inputs=[reference(calibration, "calibration", uid)], payload_digest=digest)
    write_atomically(folder / PROVENANCE, pretty_json({**header.model_dump(), "files": files}))
    made_from = reference(folder / PROVENANCE, "checkpoint", header.uid)
    evaluation = new_header("evaluation", inputs=[made_from])
    write_atomically(folder / "evaluation.json", pretty_json({"header": evaluation.model_dump(), "accuracy": 0.9}))
    write_sidecar(folder / "evaluation.json", evaluation)
    for start, roles in ((folder, CHAIN | {"calibration"}), (folder / PROVENANCE, CHAIN | {"calibration"}),
                         (folder / "evaluation.json", CHAIN | {"calibration", "checkpoint"})):  # fmt: skip
        chain = trace_back(start)
        assert (chain.exit_code, set(by_role(chain))) == (0, roles)
    calibration.unlink()  # the checkpoint carries a copy
    assert trace_back(folder).exit_code == 0
    (folder / "config.json").write_text("[]")
    assert trace_back(folder / "evaluation.json").exit_code == 4


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
