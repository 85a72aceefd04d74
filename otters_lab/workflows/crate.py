"""An artefact and everything behind it as an RO-Crate 1.2 (https://w3id.org/ro/crate/1.2): a folder or a zip file.

Files keep their names, bytes and hashes. Each artefact is the result of an action (sweep, fit, train ...) whose
instruments are the software, with its revision, and what stood on the bench. Of people nothing is said: nothing is
known.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import files_below, sha256_file
from otters_lab.core.provenance import SIDECAR, Header, Software
from otters_lab.training.checkpoint_files import PROVENANCE
from otters_lab.workflows.crate_layout import Layout, lay_out_chain
from otters_lab.workflows.tracing import Step, trace_back

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "1.2"

_FORMATS = {
    ".h5": "application/x-hdf5", ".nc": "application/x-netcdf", ".json": "application/json",
    ".jsonl": "application/jsonl", ".toml": "application/toml", ".csv": "text/csv", ".py": "text/x-python",
    ".txt": "text/plain", ".parquet": "application/vnd.apache.parquet",
}  # fmt: skip
_VERBS = {
    "capture": "sweep", "calibration": "fit", "light calibration": "lightcal", "checkpoint": "train",
    "evaluation": "evaluate", "examples": "evaluate",
}  # fmt: skip
_COMMANDS = {*_VERBS.values(), "import", "recover", "export", "demo"}


@dataclass(frozen=True)
class Crate:
    """A crate that was written: its files, and the steps of the chain whose files were not found."""

    path: Path
    files: list[str]
    missing: list[Step]


def write_crate(path: Path, out: Path, search: Sequence[Path] = (), licence: str | None = None) -> Crate:
    """Writes an artefact, and all that `trace` finds behind it, as the folder `out` (a zip file if it ends so).

    Files that are not found are left out, and said in the crate. `licence`: that of its contents, an address or words.

    Raises
    ------
    InputError
        if there is no such artefact, something stands at `out`, or the library rocrate is not installed.
    DamagedFileError
        if anything in the chain is damaged; nothing is written then.
    """
    if find_spec("rocrate") is None:
        raise InputError("a crate needs the library rocrate", file=out, expected="pip install 'otters-lab[rocrate]'")
    if out.exists():
        raise InputError("something stands here already and is never overwritten", file=out)
    chain = trace_back(path, search)
    damaged = [step for step in chain.steps() if step.state == "damaged"]
    if damaged:
        more = f" (and {len(damaged) - 1} more; see: otters-lab trace {path})" if damaged[1:] else ""
        raise DamagedFileError(damaged[0].path or damaged[0].name, damaged[0].reason + more)
    layout = lay_out_chain(chain)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _described(chain, layout, licence).write(partial)
        for target, placed in layout.files.items():
            if sha256_file(partial / target) != placed.sha256:
                raise DamagedFileError(placed.source, "was altered while it was copied")
        if out.suffix.lower() == ".zip":
            _zip(partial, out)
        else:
            partial.rename(out)
    except OSError as error:
        raise InputError(error.strerror or str(error), file=out) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    missing = [step for step in chain.steps() if step.state == "missing"]
    return Crate(out, [str(target) for target in layout.files], missing)


def _zip(folder: Path, out: Path) -> None:
    partial = out.with_name(out.name + ".writing")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files_below(folder):
                archive.write(path, path.relative_to(folder).as_posix())
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _described(chain: Step, layout: Layout, licence: str | None) -> Any:
    """The crate, with an entity for every file and action."""
    from rocrate.rocrate import ROCrate

    crate: Any = ROCrate(version=VERSION)
    root = crate.root_dataset
    what = f"{chain.header.kind if chain.header else 'file'} {chain.name}"
    root["name"] = f"{what}, with what it was made from"
    root["description"] = _description(chain)
    # A crate must state a licence, and only a person can give one.
    name, said = (licence, "licence of the contents") if licence else ("no licence stated", "ask who made this")
    address = licence if licence and licence.startswith(("https://", "http://")) else "#licence"
    root["license"] = _add(crate, address, "CreativeWork", name=name, description=said)
    parts: dict[PurePosixPath, Any] = {}
    for target, placed in layout.files.items():
        properties = {
            "name": target.name,
            "description": _what_it_is(target),
            "sha256": placed.sha256,
            "contentSize": str(placed.source.stat().st_size),
            "encodingFormat": _FORMATS.get(target.suffix, "application/octet-stream"),
        }
        parts[target] = crate.add_file(placed.source, Path(target), properties=properties)
    root["mainEntity"] = _entity_of(crate, chain, layout, parts, {})
    root["mentions"] = crate.get_by_type("CreateAction")
    return crate


def _what_it_is(target: PurePosixPath) -> str:
    """Of a file that is part of another artefact; those that are one themselves say it later."""
    if target.name.endswith(SIDECAR) and target.name != PROVENANCE:
        return f"provenance of {target.name.removesuffix(SIDECAR)}, with its hash"
    return f"part of {target.parent}"


def _description(chain: Step) -> str:
    origins = sorted({step.header.origin for step in chain.steps() if step.header and step.header.origin})
    text = f"Made with otters-lab. Origin of the data: {', '.join(origins) or 'not stated'}."
    if "synthetic" in origins:
        text += " Synthetic data come from a simulated chip and are no evidence about any device."
    missing = [f"{step.role} {step.name}" for step in chain.steps() if step.state == "missing"]
    return f"{text} Not found, and not in here: {', '.join(missing)}." if missing else text


def _entity_of(crate: Any, step: Step, layout: Layout, parts: dict[PurePosixPath, Any], done: dict[str, Any]) -> Any:
    """The entity of a step, with its action and all behind it; made once."""
    key = step.path or f"{step.name} {step.sha256}"
    if key in done:
        return done[key]
    entity = done[key] = _data_entity(crate, step, layout, parts)
    header = step.header
    if header is None:
        return entity
    entity["identifier"] = f"urn:uuid:{header.uid}"
    entity["dateCreated"] = header.created_utc
    if header.origin is not None:
        entity["additionalProperty"] = _add(crate, f"#origin-{header.origin}", "PropertyValue", name="origin",
                                            value=header.origin)  # fmt: skip
    objects = [_entity_of(crate, below, layout, parts, done) for below in step.inputs]
    command = {"description": " ".join(header.command)} if header.command else {}
    crate.add_action(
        _one_or_all([_software(crate, header.software), *_instruments(crate, header)]),
        identifier=f"#made-{header.uid}",
        object=_one_or_all(objects),
        result=entity,
        properties={"name": _verb(header), "endTime": header.created_utc, **command},
    )
    return entity


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _verb(header: Header) -> str:
    """What made an artefact: the command that was typed, else what usually makes its kind."""
    typed = header.command[1] if len(header.command) > 1 else ""
    return typed if typed in _COMMANDS else _VERBS.get(header.kind, header.kind)


def _data_entity(crate: Any, step: Step, layout: Layout, parts: dict[PurePosixPath, Any]) -> Any:
    kind = "" if step.header is None or step.header.kind == step.role else f" ({step.header.kind})"
    said = (step.role or "main artefact") + kind
    place = layout.place(step)
    if place is None:
        identifier = f"#not-here-{(step.sha256 or step.name)[:12]}"
        return _add(crate, identifier, "CreativeWork", name=step.name, sha256=step.sha256 or "",
                    description=f"{said}, not in this crate: {step.reason}")  # fmt: skip
    if place in parts:
        entity = parts[place]
    else:
        own = [parts[target] for target in layout.checkpoints[place]]
        entity = crate.add_dataset(dest_path=Path(place), properties={"name": place.name, "hasPart": own})
    entity["description"] = said if step.state == "ok" else f"{said}, {step.state}: {step.reason}"
    return entity


def _software(crate: Any, made: Software) -> Any:
    dirty = "" if made.dirty is None else f"-{made.dirty[:12]}"
    changes = "" if made.dirty is None else f" with uncommitted changes, SHA-256 of the diff {made.dirty}"
    revision = "no git revision known" if made.revision is None else f"git revision {made.revision}{changes}"
    return _add(
        crate,
        f"#otters-lab-{made.otters_lab}-{(made.revision or 'release')[:12]}{dirty}-python-{made.python}",
        "SoftwareApplication",
        name="otters-lab",
        softwareVersion=made.otters_lab,
        description=revision,
        softwareRequirements=[f"Python {made.python}", *(f"{name} {said}" for name, said in made.packages.items())],
        **({} if made.revision is None else _of_revision(made.revision)),
    )


def _of_revision(revision: str) -> dict[str, str]:
    """A git revision, and its Software Heritage identifier, which follows from it."""
    return {"version": revision, "url": f"https://identifiers.org/swh:1:rev:{revision}"}


def _instruments(crate: Any, header: Header) -> list[Any]:
    """What stood on the bench; of a virtual one it is said that it did not."""
    virtual = ", emulated in software" if header.origin in ("synthetic", "replayed") else ""
    return [
        _add(crate, f"#instrument-{header.uid[:8]}-{role}", "IndividualProduct", name=identity,
             description=f"{role}{virtual}")
        for role, identity in header.instruments.items()
    ]  # fmt: skip


def _add(crate: Any, identifier: str, kind: str, **properties: Any) -> Any:
    from rocrate.model import ContextEntity

    known = crate.dereference(identifier)
    return known or crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))
