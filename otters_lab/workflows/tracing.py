"""Provenance walked back: from an artefact over its inputs to the bench, every hash on the way checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from otters_lab.core.errors import EXIT_DAMAGED, EXIT_DONE, EXIT_SAYS_NO, DamagedFileError, InputError, said_of
from otters_lab.core.provenance import Header, InputRef
from otters_lab.workflows.artefacts import checked_header, header_beside, is_vouched_for, target_of
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
        if header is not None and sha256 is None and not is_vouched_for(path, header):
            state, reason = "unchecked", "no hash of it stands in it or beside it"
    except DamagedFileError as error:
        state, reason, header = "damaged", said_of(path, error), _header_anyway(path)
    here = (*above, path.resolve())
    kept_in = path.name if header is not None and header.kind == "capture" else ""
    inputs = [step for ref in header.inputs for step in _input(ref, finder, here, kept_in)] if header else []
    return Step(role, path.name, state, reason, str(path), sha256, header, inputs)


def _input(ref: InputRef, finder: Finder, above: tuple[Path, ...], kept_in: str) -> list[Step]:
    """The step of an input; behind it one for each altered copy, where the input itself is there too.

    `kept_in`: the capture that this went into, which holds the text of recipe and bench.
    """
    if ref.role == _SPOOL:
        return [Step(ref.role, ref.name, "unchecked", "a spool, unfinished when it was read", sha256=ref.sha256)]
    path, altered = finder.find(ref)
    if path is not None and target_of(path) not in above:
        return [_whole(ref, path, finder, above), *(_altered(ref, copy, finder, above) for copy in altered)]
    if path is not None or altered:
        return [_altered(ref, path or altered[0], finder, above)]
    text = f"; its text stands in {kept_in}" if kept_in and ref.role in ("recipe", "bench") else ""
    reason = f"not found; give the folder with --search{text}"
    return [Step(ref.role, ref.name, "missing", reason, sha256=ref.sha256)]


def _whole(ref: InputRef, path: Path, finder: Finder, above: tuple[Path, ...]) -> Step:
    try:
        return _step(ref.role, target_of(path), finder, above, ref.sha256)
    except InputError as error:  # the very file that went in, but of a form that this version does not read
        return Step(ref.role, ref.name, "unchecked", said_of(path, error), str(path), ref.sha256)


def _altered(ref: InputRef, path: Path, finder: Finder, above: tuple[Path, ...]) -> Step:
    """An input whose bytes are not the recorded ones; what stands beside it may still say what is behind it."""
    reason = f"sha256 is not the recorded {ref.sha256[:12]}...: altered since"
    header = None if target_of(path) in above else _header_anyway(target_of(path))
    here = (*above, target_of(path).resolve())
    inputs = [step for below in header.inputs for step in _input(below, finder, here, "")] if header else []
    return Step(ref.role, ref.name, "damaged", reason, str(path), ref.sha256, header, inputs)


def _header_anyway(path: Path) -> Header | None:
    """Of a damaged artefact, the header beside it, to go on from."""
    try:
        return header_beside(path)
    except (DamagedFileError, InputError):
        return None
