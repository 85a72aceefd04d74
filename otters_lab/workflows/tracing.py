"""Provenance walked back: from an artefact over its inputs to the bench, every hash on the way checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from otters_lab.core.errors import EXIT_DAMAGED, EXIT_DONE, EXIT_SAYS_NO, DamagedFileError, InputError
from otters_lab.core.provenance import Header, InputRef
from otters_lab.workflows.artefacts import checked_header, header_beside, target_of
from otters_lab.workflows.finding import Finder

State = Literal["ok", "damaged", "missing", "unchecked"]

_SPOOL = "spool"  # an input that grew while it was read: its hash says nothing afterwards


@dataclass(frozen=True)
class Step:
    """An artefact or a file of the chain. `role` is what it was to the one above it, "" at the top.

    `header` None: a file without one (a recipe, a recording), or one that could not be read. `reason` says what is
    wrong with a damaged, missing or unchecked one.
    """

    role: str
    name: str
    state: State
    reason: str = ""
    path: str | None = None
    sha256: str | None = None
    header: Header | None = None
    inputs: list[Step] = field(default_factory=list)

    def steps(self) -> Iterator[Step]:
        """This one and all below it."""
        yield self
        for step in self.inputs:
            yield from step.steps()

    @property
    def exit_code(self) -> int:
        """4 if a hash does not match anywhere, 1 if something was not found, else 0."""
        states = {step.state for step in self.steps()}
        if "damaged" in states:
            return EXIT_DAMAGED
        return EXIT_SAYS_NO if "missing" in states else EXIT_DONE

    def document(self) -> dict[str, Any]:
        """For --json."""
        plain = {key: value for key, value in asdict(self).items() if key not in ("header", "inputs")}
        header = None if self.header is None else self.header.model_dump(exclude={"inputs"})
        return {**plain, "header": header, "inputs": [step.document() for step in self.inputs]}


def trace_back(path: Path, search: Sequence[Path] = ()) -> Step:
    """The chain behind an artefact: a capture, a calibration of either kind, a checkpoint, an evaluation, an export.

    Inputs are looked for beside it, in its workspace and below the folders `search`. No code of a workspace runs.

    Raises
    ------
    InputError
        if there is no such artefact, or a folder of `search` is none. What is wrong further back is in the steps.
    """
    for place in search:
        if not place.is_dir():
            raise InputError("no such folder", file=place)
    path = target_of(path)
    step = _step("", path, Finder(path, search), ())
    if step.state == "ok" and step.header is None:
        raise InputError("carries no provenance, and none stands beside it", file=path, expected="an artefact of ours")
    return step


def _step(role: str, path: Path, finder: Finder, above: tuple[Path, ...], sha256: str | None = None) -> Step:
    state: State = "ok"
    reason = ""
    try:
        header = checked_header(path)
    except DamagedFileError as error:
        state, reason, header = "damaged", str(error).removeprefix(f"{path}: "), _header_anyway(path)
    here = (*above, path.resolve())
    inputs = [_input(ref, finder, here) for ref in header.inputs] if header is not None else []
    return Step(role, path.name, state, reason, str(path), sha256, header, inputs)


def _input(ref: InputRef, finder: Finder, above: tuple[Path, ...]) -> Step:
    if ref.role == _SPOOL:
        return Step(ref.role, ref.name, "unchecked", "a spool, unfinished when it was read", sha256=ref.sha256)
    path, altered = finder.find(ref)
    if path is None and altered is None:
        return Step(ref.role, ref.name, "missing", "not found; give the folder with --search", sha256=ref.sha256)
    if path is None or target_of(path) in above:
        reason = f"sha256 is not the recorded {ref.sha256[:12]}...: altered since"
        return Step(ref.role, ref.name, "damaged", reason, str(altered or path), ref.sha256)
    try:
        return _step(ref.role, target_of(path), finder, above, ref.sha256)
    except InputError as error:  # the very file that went in, but of a form that this version does not read
        return Step(ref.role, ref.name, "unchecked", str(error).removeprefix(f"{path}: "), str(path), ref.sha256)


def _header_anyway(path: Path) -> Header | None:
    """Of a damaged artefact, the header beside it, to go on from."""
    try:
        return header_beside(path)
    except (DamagedFileError, InputError):
        return None
