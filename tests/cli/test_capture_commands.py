"""Commands on captures that are there, as they are typed."""

import json

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
