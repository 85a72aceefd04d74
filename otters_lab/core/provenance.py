"""Where an artefact comes from: one header inside it, the same header beside it with the file's hash."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, computed_field, model_validator

from otters_lab.core.clock import Clock, SystemClock, iso_utc
from otters_lab.core.errors import DamagedFileError
from otters_lab.core.files import (
    canonical_json,
    pretty_json,
    read_json,
    sha256_bytes,
    sha256_file,
    write_atomically,
)
from otters_lab.version import __version__

Origin = Literal["measured", "replayed", "synthetic", "imported"]

SIDECAR = ".prov.json"
FOLDER_RECORD = "otters.prov.json"  # in an artefact that is a folder

Model = TypeVar("Model", bound=BaseModel)

_PACKAGES = (
    "numpy", "scipy", "lmfit", "pandas", "h5py", "h5netcdf", "xarray", "pyvisa", "pymeasure", "torch", "transformers",
    "pyarrow",
)  # fmt: skip


class InputRef(BaseModel):
    """A file that went into an artefact."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    role: str
    name: str  # the file's name, not its path: paths say nothing on another machine
    uid: str | None = None
    sha256: str


class Software(BaseModel):
    """What code made an artefact. `revision` is null outside a git checkout, `dirty` null on a clean one."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    otters_lab: str
    python: str
    revision: str | None
    dirty: str | None
    packages: dict[str, str]


class Header(BaseModel):
    """The provenance header that every artefact carries (schema version 1).

    `payload_digest` is of what it heads, `header_digest` of the rest of the header; files written before had no such.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: Literal[1] = 1
    kind: str
    uid: str
    created_utc: str
    origin: Origin | None = None
    inputs: list[InputRef] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)
    instruments: dict[str, str] = Field(default_factory=dict)
    software: Software
    seeds: dict[str, int] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)
    payload_digest: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def header_digest(self) -> str:
        """SHA-256 of all other entries, as they are written."""
        return _digest_of_all_but(self.model_dump(exclude={"header_digest"}))

    @model_validator(mode="before")
    @classmethod
    def _is_as_written(cls, record: Any) -> Any:
        if not isinstance(record, dict) or "header_digest" not in record:
            return record
        if _digest_of_all_but(record, "header_digest") != record["header_digest"]:
            raise ValueError("does not match its header_digest: it was altered")
        return {name: value for name, value in record.items() if name != "header_digest"}


def payload_digest(record: Mapping[str, Any]) -> str:
    """The digest of a JSON artefact's payload: of all its entries but the header."""
    return _digest_of_all_but(record, "header")


def _digest_of_all_but(record: Mapping[str, Any], left_out: str = "") -> str:
    kept = {name: value for name, value in record.items() if name != left_out}
    return sha256_bytes(
        canonical_json(json.loads(json.dumps(kept)))
    )  # of what is read back: keys are text, lists lists


def new_header(kind: str, *, clock: Clock | None = None, command: list[str] | None = None, **parts: Any) -> Header:
    """A header for a new artefact; `parts` are the other fields of `Header`."""
    return Header(
        kind=kind,
        uid=str(uuid.uuid4()),
        created_utc=iso_utc((clock or SystemClock()).utc()),
        software=software(),
        command=command_line() if command is None else command,
        **parts,
    )


def common_origin(origins: Iterable[Origin]) -> Origin:
    """The origin of what is made of several: the one furthest from a measurement.

    Synthetic data never passes for measured: one synthetic part makes the whole synthetic.

    Raises
    ------
    ValueError
        for no origin at all.
    """
    found = set(origins)
    order: tuple[Origin, ...] = ("synthetic", "replayed", "imported", "measured")
    if not found:
        raise ValueError("no origin")
    return next(origin for origin in order if origin in found)


def command_line() -> list[str]:
    """The command as typed, with the program's path reduced to its name."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


@cache
def software() -> Software:
    """Versions of this package, of what it stands on, and the git revision it runs from.

    Looked up once: a process runs what it has loaded, whatever becomes of the checkout meanwhile.
    """
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    revision, dirty = _git_state(Path(__file__).resolve().parents[2])
    python = ".".join(str(part) for part in sys.version_info[:3])
    return Software(otters_lab=__version__, python=python, revision=revision, dirty=dirty, packages=found)


def _git_state(folder: Path) -> tuple[str | None, str | None]:
    """Revision and a hash of uncommitted changes of the checkout in `folder`; (None, None) if it is none."""
    if not (folder / ".git").exists():
        return None, None

    def git(*words: str) -> bytes:
        return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True, timeout=20).stdout

    try:
        revision = git("rev-parse", "HEAD").decode().strip()
        changes = git("diff", "HEAD", "--no-ext-diff", "--", "otters_lab")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return revision, sha256_bytes(changes) if changes else None


def reference(path: Path, role: str, uid: str | None = None) -> InputRef:
    """An `InputRef` to a file as it is now."""
    return InputRef(role=role, name=path.name, uid=uid, sha256=sha256_file(path))


def sidecar_path(path: Path) -> Path:
    """``NAME.prov.json`` beside NAME."""
    return path.with_name(path.name + SIDECAR)


def write_sidecar(path: Path, header: Header) -> None:
    """Writes the header and the file's SHA-256 beside the file."""
    write_atomically(sidecar_path(path), pretty_json({**header.model_dump(), "file_sha256": sha256_file(path)}))


def check_sidecar(path: Path) -> str | None:
    """Checks a file against its sidecar; returns its SHA-256, or None where there is no sidecar.

    Raises
    ------
    DamagedFileError
        if the file's hash is not the recorded one, or the sidecar cannot be read.
    """
    beside = sidecar_path(path)
    if not beside.exists():
        return None
    record = read_json(beside)
    recorded = record.get("file_sha256") if isinstance(record, dict) else None
    actual = sha256_file(path)
    if recorded != actual:
        raise DamagedFileError(
            path, f"sha256 {actual[:12]}... does not match the {str(recorded)[:12]}... in {beside.name}"
        )
    return actual


def sidecar_header(path: Path) -> Header:
    """The header in the sidecar of a file.

    Raises
    ------
    DamagedFileError
        if it is none.
    """
    beside = sidecar_path(path)
    record = read_json(beside)
    if not isinstance(record, dict):
        raise DamagedFileError(beside, "is not a provenance record")
    return parse_header(beside, {key: value for key, value in record.items() if key != "file_sha256"})


def stated_kind(record: object) -> str | None:
    """The kind that the header in a JSON record states, unchecked; None for a record of none of ours."""
    header = record.get("header") if isinstance(record, dict) else None
    kind = header.get("kind") if isinstance(header, dict) else None
    return kind if isinstance(kind, str) else None


def parse_header(path: Path, record: object) -> Header:
    """A header read back from an artefact.

    Raises
    ------
    DamagedFileError
        if it is not a header.
    """
    return validated(Header, path, record)


def validated(model: type[Model], path: Path, record: object) -> Model:
    """A record that we wrote, read back.

    Raises
    ------
    DamagedFileError
        naming the first part that does not fit; `path` is the file it stands in.
    """
    return _validated(model, path, partial(model.model_validate, record))


def validated_json(model: type[Model], path: Path, record: object) -> Model:
    """The same for a record out of JSON, of a strict model: a pair is a list there.

    Raises
    ------
    DamagedFileError
        as `validated`.
    """
    return _validated(model, path, partial(model.model_validate_json, json.dumps(record)))


def _validated(model: type[Model], path: Path, validate: Callable[[], Model]) -> Model:
    try:
        return validate()
    except ValidationError as failure:
        first = failure.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = str(first["msg"]).removeprefix("Value error, ")
        raise DamagedFileError(path, ": ".join(filter(None, [model.__name__.lower(), place, said]))) from None
