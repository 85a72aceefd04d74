import subprocess
import sys
import zipfile

import pytest

from otters_lab.workflows.workspace import FOLDERS, templates


def test_the_wheel_carries_the_workspace(root, tmp_path):
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in (
        "instruments/virtual.toml",
        "sweeps/decay.toml",
        "measurements/reference.h5",
        "calibration/reference.json",
    ):
        assert f"otters_lab/templates/{file}" in names
    assert not any(name.startswith(("tests/", "instruments/")) for name in names)


def test_a_checkout_is_its_own_workspace(root):
    assert templates() == root
    assert all((root / folder).is_dir() for folder in FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_only_otters_lab_is_importable(root, folder):
    assert not (root / folder / "__init__.py").exists()
