"""Finds the files that went into an artefact: beside it, in its workspace, and where else one is told to look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from otters_lab.core.errors import InputError
from otters_lab.core.files import files_below, sha256_file
from otters_lab.core.provenance import SIDECAR, InputRef, sidecar_path
from otters_lab.training.checkpoint_files import PROVENANCE
from otters_lab.workflows.workspace import FOLDERS

_WORKSPACE = (*FOLDERS, "networks")


class Found(NamedTuple):
    """A file whose hash is the recorded one; and what was that file once, by its name or sidecar, and is not now."""

    path: Path | None
    altered: Sequence[Path] = ()


class Finder:
    """Looks in the folder of `root`, in the workspace around it, and in `places` with all folders below.

    Raises
    ------
    InputError
        if one of `places` is no folder.
    """

    def __init__(self, root: Path, places: Sequence[Path] = ()) -> None:
        for place in places:
            if not place.is_dir():
                raise InputError("no such folder", file=place)
        home = root.resolve() if root.is_dir() else root.resolve().parent
        self._files = list(dict.fromkeys([*_files_in(home), *_workspace_files(home), *_below(places)]))
        self._hash = cache(sha256_file)
        self._beside = cache(_said_beside)

    def find(self, wanted: InputRef) -> Found:
        """The file of an input: by its name, else by what its sidecar says, else by its hash among files of its kind.

        What a sidecar says only points to a file; the file's own bytes decide. Of equal files that with a sidecar is
        taken: it can be checked further. Copies that a sidecar calls this very file, and whose bytes differ, are told.
        """
        named = [path for path in self._files if path.name == wanted.name]
        alike = [path for path in self._files if path.suffix == Path(wanted.name).suffix]
        told = [path for path in alike if wanted.uid is not None and self._beside(path)[0] == wanted.uid]
        same = [path for path in self._files if self._beside(path)[1] == wanted.sha256]
        lone = [path for path in alike if self._beside(path) == (None, None)]
        candidates = dict.fromkeys([*named, *told, *same, *lone])
        by_sidecar = sorted(candidates, key=lambda path: not sidecar_path(path).exists())
        found = next((path for path in by_sidecar if self._hash(path) == wanted.sha256), None)
        if found is not None:
            return Found(found, [path for path in same if self._hash(path) != wanted.sha256])
        # One of the same name that says it is another artefact never was the input.
        was = [path for path in named if wanted.uid is None or self._beside(path)[0] in (None, wanted.uid)]
        return Found(None, list(dict.fromkeys([*told, *same, *was])))


def _said_beside(path: Path) -> tuple[str | None, str | None]:
    """uid and SHA-256 by the sidecar, unchecked."""
    beside = path if path.name == PROVENANCE else path.with_name(path.name + SIDECAR)
    try:
        record = json.loads(beside.read_bytes())
        return record.get("uid"), record.get("file_sha256")
    except (OSError, ValueError, AttributeError):
        return None, None


def _workspace_files(home: Path) -> Iterator[Path]:
    """Files in the workspace that `home` lies in: the nearest folder above with at least two of a workspace's."""
    for folder in (home, *home.parents):
        if sum((folder / name).is_dir() for name in FOLDERS) >= 2:
            yield from _below([folder / name for name in _WORKSPACE])
            return


def _below(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from (path for path in files_below(place.resolve()) if _counts(path))


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if _counts(path))


def _counts(path: Path) -> bool:
    is_record = path.name.endswith(SIDECAR) and path.name != PROVENANCE
    return path.is_file() and not is_record and not path.name.startswith(".")
