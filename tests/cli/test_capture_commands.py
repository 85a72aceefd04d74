"""Commands on captures that are there, as they are typed."""

import json
import shutil

import pandas as pd
import xarray as xr


def test_the_reference_is_exported_in_every_format_and_pandas_opens_it(cli, root, tmp_path):
    reference = root / "measurements" / "reference.h5"
    for name in ("a.nc", "a.parquet", "a.csv"):
        code, out, err = cli("export", reference, "-o", tmp_path / name, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["traces"] == 400
        assert cli("export", reference, "-o", tmp_path / name)[0] == 2
        assert (tmp_path / f"{name}.prov.json").exists()
    columns, numbers = pd.read_parquet(tmp_path / "a.parquet"), pd.read_csv(tmp_path / "a.csv")
    assert len(columns) == len(numbers) == 400 * 650
    assert columns["drive_V"].unique().tolist() == [5.0]
    with xr.open_dataset(tmp_path / "a.nc", engine="h5netcdf") as data:
        assert data.sizes["trace"] == 400
    code, out, _ = cli("export", reference, "-o", tmp_path / "t.csv", "--table")
    assert (code, out) == (0, f"{tmp_path / 't.csv'}: 400 traces in 400 rows, origin synthetic\n")


def test_the_catalogue_of_a_folder_is_searched_and_ends_with_4_where_a_file_is_damaged(cli, root, tmp_path):
    reference = root / "measurements" / "reference.h5"
    shutil.copy(reference, tmp_path / "a.h5")
    code, out, err = cli("captures", tmp_path)
    assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if line.startswith("a.h5"))
    for shown in ("reference", "1-8", "400", "synthetic", "1 s", "400 ok"):
        assert shown in row
    assert out.endswith("1 of 1 files\n")
    code, out, _ = cli(
        "captures", tmp_path, "--parameter", "drive=5 V", "--device", 8, "--until", "2020-01-01", "--json"
    )
    assert (code, json.loads(out)["found"]) == (0, [])
    code, out, _ = cli("captures", tmp_path, "--parameter", "drive=5 V", "--device", 8, "--json")
    assert [entry["path"] for entry in json.loads(out)["found"]] == ["a.h5"]
    (tmp_path / "b.h5").write_bytes(reference.read_bytes()[:-1])
    code, out, _ = cli("captures", tmp_path)
    assert code == 4
    assert "damaged: does not end in its seal line" in out
    assert cli("captures", tmp_path, "--parameter", "drive 5")[0] == 2
    code, _, err = cli("captures", tmp_path, "--origin", "sythetic")
    assert code == 2
    assert 'did you mean "synthetic"' in err


def test_a_trace_shows_the_chain_and_ends_with_what_it_found(cli, root, tmp_path):
    for folder in ("instruments", "sweeps", "measurements", "calibration"):
        shutil.copytree(root / folder, tmp_path / folder)
    calibration = tmp_path / "calibration" / "reference.json"
    code, out, err = cli("trace", calibration)
    assert (code, err) == (0, "")
    for shown in (
        f"calibration {calibration}: ok",
        "  capture ",
        "MODEL 2450",
        "origin      synthetic",
        "otters-lab fit",
    ):
        assert shown in out
    code, out, _ = cli("trace", calibration, "--json")
    assert json.loads(out)["inputs"][0]["header"]["kind"] == "capture"
    capture = tmp_path / "measurements" / "reference.h5"
    capture.write_bytes(capture.read_bytes()[:-1] + b" ")
    code, out, _ = cli("trace", calibration)
    assert code == 4
    assert "DAMAGED" in out
    capture.unlink()
    capture.with_name("reference.h5.prov.json").unlink()
    code, out, _ = cli("trace", calibration)
    assert code == 1
    assert "MISSING: not found; give the folder with --search" in out
    assert cli("trace", calibration, "--search", root / "measurements")[0] == 0
