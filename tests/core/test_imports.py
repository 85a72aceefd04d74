import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = [
    *("torch", "matplotlib", "transformers", "pint", "dask", "scipy", "pandas", "h5py", "pymeasure", "lmfit"),
    *("xarray", "h5netcdf", "pyarrow", "numpy"),
]


@pytest.mark.parametrize("statement", ["import otters_lab", "import otters_lab.cli.main"])
def test_importing_the_package_or_the_program_loads_nothing_heavy(statement):
    program = f"import sys; {statement}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_arrows_between_rooms_run_one_way():
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
