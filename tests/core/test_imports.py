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


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (["check", "sweeps/decay.toml", "instruments/virtual.toml"], ["torch", "transformers", "pandas", "scipy"]),
        (["energy", "--layers=2", "--hidden=64", "--ffn=128", "--length=16", "--rate=0.2"], ["torch", "matplotlib"]),
    ],
)
def test_a_light_command_does_not_wait_for_what_only_others_need(words, unwanted):
    """A recipe is checked in well under a second, and would take seconds with torch."""
    program = (
        f"import sys; from otters_lab.cli.main import app; sys.argv[1:] = {words!r}; app(standalone_mode=False); "
        f"print([name for name in {unwanted!r} if name in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stderr.strip() == "[]"


def test_arrows_between_rooms_run_one_way():
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
