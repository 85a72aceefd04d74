"""A checkpoint with everything behind it as an RO-Crate: read by the crates' own library, and traced where it is."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import sha256_file
from otters_lab.core.provenance import sidecar_path
from otters_lab.workflows.crate import write_crate
from otters_lab.workflows.lightcal import import_light_calibration
from otters_lab.workflows.tracing import trace_back


@pytest.fixture
def crate_of() -> Any:
    rocrate = pytest.importorskip("rocrate.rocrate", reason="the library rocrate is not installed")
    return rocrate.ROCrate


def entities(crate: Any, kind: str) -> list[Any]:
    return [entity for entity in crate.get_entities() if entity.type == kind]


def behind(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_crate_holds_every_file_of_the_chain_with_its_hash_and_is_traced_like_the_workspace(
    made: Path, tmp_path: Path, crate_of: Any
) -> None:
    out = tmp_path / "crate"
    written = write_crate(made / "networks" / "net" / "evaluation.json", out)
    assert written.missing == []
    folders = ("instruments", "sweeps", "measurements", "calibration", "networks/net")
    moved = {"measurements/lamp.csv": "instruments/lamp.csv"}
    chain = {name for name in behind(made) if name.startswith(folders)} - set(moved.values()) | set(moved)
    assert behind(out) == chain | {"ro-crate-metadata.json"}
    crate = crate_of(out)
    files = {entity.id: entity for entity in entities(crate, "File")}
    assert set(files) == chain
    for name, entity in files.items():
        assert (out / name).read_bytes() == (made / moved.get(name, name)).read_bytes()
        assert (entity["sha256"], entity["contentSize"]) == (sha256_file(out / name), str((out / name).stat().st_size))
    (network,) = entities(crate, "Dataset")[1:]
    assert network.id == "networks/net/"
    assert {part.id for part in network["hasPart"]} == {
        name for name in chain if name.startswith("networks/net/") and "evaluation" not in name}  # fmt: skip
    shutil.move(out, tmp_path / "elsewhere")
    found = trace_back(tmp_path / "elsewhere" / "networks" / "net" / "evaluation.json")
    assert found.exit_code == 0
    assert len(list(found.steps())) == 9
    assert all(str(step.path).startswith(str(tmp_path / "elsewhere")) for step in found.steps())


def test_each_step_is_an_action_of_the_software_that_did_it_and_nobody_is_invented(
    made: Path, tmp_path: Path, crate_of: Any
) -> None:
    write_crate(made / "networks" / "net", tmp_path / "crate")
    crate = crate_of(tmp_path / "crate")
    actions = {action["result"].id: action for action in entities(crate, "CreateAction")}
    assert set(actions) == {"networks/net/", "calibration/a1.json", "measurements/a1.h5", "instruments/lamp.json"}
    assert {action["name"] for action in actions.values()} == {"lightcal", "sweep", "fit", "train"}
    fit = actions["calibration/a1.json"]
    header = json.loads((made / "calibration" / "a1.json").read_text())["header"]
    assert fit["object"].id == "measurements/a1.h5"
    assert fit["endTime"] == header["created_utc"]
    software = fit["instrument"]
    assert (software.type, software["softwareVersion"]) == ("SoftwareApplication", header["software"]["otters_lab"])
    assert (header["software"]["revision"] or "no git revision known") in software["description"]
    on_the_bench = {entity["description"]: entity["name"] for entity in actions["measurements/a1.h5"]["instrument"][1:]}
    assert "MODEL 2450" in on_the_bench["meter, emulated in software"]
    capture = crate.dereference("measurements/a1.h5")
    assert capture["additionalProperty"]["value"] == "synthetic"
    assert "Origin of the data: imported, synthetic" in crate.root_dataset["description"]
    assert "no evidence about any device" in crate.root_dataset["description"]
    assert crate.root_dataset["mainEntity"].id == "networks/net/"
    assert crate.root_dataset["license"]["name"] == "no licence stated"
    assert all(entity["description"] for entity in entities(crate, "File"))
    text = (tmp_path / "crate" / "ro-crate-metadata.json").read_text()
    assert not any(word in text for word in ("Person", "Organization", '"author"', '"creator"'))
    known = {entity["@id"] for entity in json.loads(text)["@graph"]}
    assert json.loads(text)["@context"] == "https://w3id.org/ro/crate/1.2/context"
    assert {"./", "ro-crate-metadata.json"} <= known


def test_a_packed_student_goes_into_a_zip_file(made: Path, tmp_path: Path, crate_of: Any) -> None:
    written = write_crate(made / "networks" / "student.safetensors", tmp_path / "student.zip")
    with zipfile.ZipFile(written.path) as archive:
        assert "ro-crate-metadata.json" in archive.namelist()
        archive.extractall(tmp_path / "unpacked")
    assert {entity.id for entity in entities(crate_of(tmp_path / "unpacked"), "File")} == set(written.files)
    assert trace_back(tmp_path / "unpacked" / "networks" / "student.safetensors").exit_code == 0
    assert [path.name for path in tmp_path.glob("student.zip*")] == ["student.zip"]


def test_what_is_missing_is_told_and_what_is_damaged_is_refused(
    cli: Any, lab: Path, tmp_path: Path, crate_of: Any
) -> None:
    calibration, out = lab / "calibration" / "a1.json", tmp_path / "crate"
    (lab / "sweeps" / "own.toml").rename(tmp_path / "own.toml")
    code, said, _ = cli("export", calibration, "--ro-crate", "-o", out, "--json")
    assert (code, json.loads(said)["missing"][0]["name"]) == (1, "own.toml")
    (gone,) = [entity for entity in entities(crate_of(out), "CreativeWork") if entity.id.startswith("#not-here")]
    assert (gone["name"], "not in this crate" in gone["description"]) == ("own.toml", True)
    assert "recipe own.toml" in crate_of(out).root_dataset["description"]
    licence = "https://spdx.org/licenses/CC-BY-4.0"
    words = ("--ro-crate", "-o", tmp_path / "b", "--search", tmp_path, "--license", licence)
    assert cli("export", calibration, *words)[0] == 0
    assert (tmp_path / "b" / "sweeps" / "own.toml").exists()
    assert crate_of(tmp_path / "b").root_dataset["license"].id == licence
    capture = lab / "measurements" / "a1.h5"
    capture.write_bytes(capture.read_bytes() + b" ")
    code, said, err = cli("export", calibration, "--ro-crate", "-o", tmp_path / "c")
    assert (code, said, "a1.h5" in err) == (4, "", True)
    assert [path.name for path in tmp_path.glob("c*")] == ["crate"]


def test_files_of_one_name_do_not_take_each_other_s_place(lab: Path, tmp_path: Path) -> None:
    recording, other, both = (
        lab / "instruments" / "lamp.csv",
        lab / "other" / "lamp.csv",
        lab / "instruments" / "b.json",
    )
    other.parent.mkdir()
    other.write_text(recording.read_text().replace("2.5e-05", "2.6e-05"))
    import_light_calibration([recording, other], both, spot_area_m2=5e-8)
    written = write_crate(both, tmp_path / "crate", [lab / "other"])
    names = [name for name in written.files if name.endswith(".csv")]
    assert len(names) == 2
    assert trace_back(tmp_path / "crate" / "instruments" / "b.json").exit_code == 0


def test_bad_use_is_refused_before_anything_is_read(cli: Any, lab: Path, tmp_path: Path) -> None:
    calibration = lab / "calibration" / "a1.json"
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="never overwritten"):
        write_crate(calibration, tmp_path / "there")
    assert cli("export", calibration, "--ro-crate", "--table", "-o", tmp_path / "x")[0] == 2
    assert cli("export", lab / "measurements" / "a1.h5", "--search", lab, "-o", tmp_path / "x.csv")[0] == 2
    sidecar_path(calibration).write_text("{}")
    with pytest.raises(DamagedFileError):
        write_crate(calibration, tmp_path / "x")
    assert not (tmp_path / "x").exists()
