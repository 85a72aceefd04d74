"""A lab's own driver: ``driver = "mylamp.py:MyLamp"``, a class in a file of the workspace's instruments/ folder.

The class is called as Class(adapter, bench, clock) with an open PyMeasure adapter and must satisfy its role's Protocol.
It runs only with the user's consent, and never for `check` or `--dry-run`.
"""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

from otters_lab.core.consent import require_trust
from otters_lab.core.errors import InputError

_SPEC = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_]\w*)", re.ASCII)


def is_own(driver: str) -> bool:
    """Whether a driver's name is of the form ``path.py:Class``."""
    return _SPEC.fullmatch(driver) is not None


def own_file(driver: str, folder: Path) -> tuple[Path, str]:
    """File and class of ``path.py:Class``; nothing is run.

    Raises
    ------
    InputError
        if the file is not there, or lies outside `folder` (links followed).
    """
    found = _SPEC.fullmatch(driver)
    if found is None:
        raise InputError("no own driver", found=driver, expected='"path.py:Class"')
    path = (folder / found["file"]).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError("a workspace's own driver lies in its instruments folder", found=driver, expected=str(folder))
    if not path.is_file():
        raise InputError("no such driver file", file=path)
    return path, found["name"]


def load_own(driver: str, folder: Path, role: type) -> Any:
    """Runs the file, with consent, and gives the class.

    Raises
    ------
    InputError
        if it cannot be run, has no such class, or the class lacks a method of the role.
    RefusedError
        without consent.
    """
    path, name = own_file(driver, folder)
    code = require_trust(path)
    module = types.ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        # The bytes that were consented to are those that run: the file is not read a second time.
        exec(compile(code, str(path), "exec"), module.__dict__)
    except Exception as error:
        raise InputError(f"cannot be run: {type(error).__name__}: {error}", file=path) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise InputError("has no such class", file=path, found=name)
    wanted = [method for method in vars(role) if not method.startswith("_") and callable(getattr(role, method))]
    missing = [method for method in wanted if not callable(getattr(found, method, None))]
    if missing:
        raise InputError(f"{name} is no {role.__name__}: it lacks {', '.join(missing)}", file=path)
    return found
