"""Where the files of a chain go in a crate: folders as in a workspace, so that `trace` finds them there again."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from otters_lab.core.errors import DamagedFileError
from otters_lab.core.files import sha256_file
from otters_lab.core.provenance import sidecar_path
from otters_lab.training.checkpoint_files import PROVENANCE, recorded_files
from otters_lab.workflows.tracing import Step

_BY_KIND = {
    "capture": "measurements", "export": "measurements", "calibration": "calibration",
    "light calibration": "instruments", "checkpoint": "networks", "evaluation": "networks", "examples": "networks",
}  # fmt: skip
_BY_ROLE = {"recipe": "sweeps", "bench": "instruments", "driver": "instruments"}
_ELSE = "measurements"  # recordings, and what said how to read them


@dataclass(frozen=True)
class Placed:
    """A file of the chain: where it is, where it goes, and its hash as it is known."""

    source: Path
    target: PurePosixPath
    sha256: str


@dataclass
class Layout:
    """Every file of a chain once, by its target; those of each checkpoint; where a step's file or folder is."""

    files: dict[PurePosixPath, Placed] = field(default_factory=dict)
    checkpoints: dict[PurePosixPath, list[PurePosixPath]] = field(default_factory=dict)
    places: dict[str, PurePosixPath] = field(default_factory=dict)  # by the path that a step says

    def place(self, step: Step) -> PurePosixPath | None:
        """The target of a step; None for one whose file is not there."""
        return None if step.path is None else self.places[step.path]


def lay_out_chain(chain: Step) -> Layout:
    """The layout of a chain that is whole as far as it was found.

    Raises
    ------
    DamagedFileError
        if a file was altered since the chain was traced.
    """
    layout = Layout()
    for step in sorted(chain.steps(), key=lambda step: not (step.path and Path(step.path).is_dir())):
        if step.path is None or step.path in layout.places:
            continue
        path = Path(step.path)
        inside = next((placed for placed in layout.files.values() if placed.source == path.resolve()), None)
        if inside is not None:  # as the calibration that a checkpoint holds
            layout.places[step.path] = inside.target
        elif path.is_dir():
            layout.places[step.path] = _place_checkpoint(layout, path)
        else:
            layout.places[step.path] = _place_file(layout, step, path)
    return layout


def _place_checkpoint(layout: Layout, path: Path) -> PurePosixPath:
    folder = PurePosixPath("networks", path.resolve().name)
    if folder in layout.checkpoints:  # another one of this name
        folder = folder.with_name(f"{folder.name}-{sha256_file(path / PROVENANCE)[:8]}")
    for name, sha256 in {**recorded_files(path), PROVENANCE: sha256_file(path / PROVENANCE)}.items():
        _add(layout, path / name, folder / name, sha256)
        layout.checkpoints.setdefault(folder, []).append(folder / name)
    return folder


def _place_file(layout: Layout, step: Step, path: Path) -> PurePosixPath:
    sha256 = sha256_file(path)
    if step.sha256 not in (None, sha256):
        raise DamagedFileError(path, "was altered while it was read")
    kind = "" if step.header is None else step.header.kind
    folder = PurePosixPath(_BY_KIND.get(kind) or _BY_ROLE.get(step.role, _ELSE))
    beside = layout.places.get(str(path.parent)) or layout.places.get(str(path.resolve().parent))
    target = (beside or folder) / path.name  # an evaluation stays in the folder of its checkpoint
    if target in layout.files and layout.files[target].sha256 != sha256:
        target = target.with_name(f"{path.stem}-{sha256[:8]}{path.suffix}")
    _add(layout, path, target, sha256)
    if sidecar_path(path).exists():
        _add(layout, sidecar_path(path), target.with_name(sidecar_path(Path(target.name)).name), None)
    return target


def _add(layout: Layout, source: Path, target: PurePosixPath, sha256: str | None) -> None:
    layout.files[target] = Placed(source.resolve(), target, sha256 or sha256_file(source))
