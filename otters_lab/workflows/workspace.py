"""Laying out a workspace from the templates that the package carries."""

from __future__ import annotations

import shutil
from pathlib import Path

import otters_lab
from otters_lab.core.errors import InputError

FOLDERS = ("instruments", "sweeps", "measurements", "calibration")
_KINDS = ("*.toml", "*.h5", "*.json", "*.md")


def templates() -> Path:
    """Where the workspace folders of this installation lie: inside the wheel, or at the top of a checkout.

    Raises
    ------
    InputError
        if the installation carries none.
    """
    package = Path(otters_lab.__file__).parent
    for place in (package / "templates", package.parent):
        if all((place / folder).is_dir() for folder in FOLDERS):
            return place
    raise InputError("this installation carries no workspace templates; install the wheel or a checkout")


def lay_out(folder: Path) -> tuple[list[str], list[str]]:
    """Copies the template files into `folder`; returns the names written and those kept because they were there.

    Raises
    ------
    InputError
        if `folder` is a file or cannot be written.
    """
    source = templates()
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file", file=folder, expected="a folder, or nothing yet")
    written, kept = [], []
    try:
        for room in FOLDERS:
            (folder / room).mkdir(parents=True, exist_ok=True)
            for template in sorted(path for kind in _KINDS for path in (source / room).glob(kind)):
                target = folder / room / template.name
                name = f"{room}/{template.name}"
                if target.exists():
                    kept.append(name)
                else:
                    shutil.copyfile(template, target)
                    written.append(name)
    except OSError as error:
        raise InputError(error.strerror or str(error), file=folder) from None
    return written, kept
