"""A trained network as a folder: Hugging Face layout, its teacher, its calibration, and a hash of every file.

config.json, model.safetensors    the student; config.json has our section "otters"
teacher/                          the same two files of the teacher
calibration.json                  the calibration's bytes as they were, if there was one
sites.json                        what each site fires an inference
training.jsonl                    the training log
otters.prov.json                  the provenance header and the SHA-256 of every file above
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from transformers import ViTConfig, ViTForImageClassification

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import (
    canonical_json,
    pretty_json,
    read_bytes,
    read_json,
    sha256_bytes,
    sha256_file,
    write_atomically,
)
from otters_lab.core.provenance import Header, validated
from otters_lab.core.tomlfile import StrictModel
from otters_lab.training.checkpoint_files import (
    CALIBRATION,
    CONFIG,
    LOG,
    PROVENANCE,
    SITES,
    TEACHER,
    WEIGHTS,
    check_files,
)
from otters_lab.ttfs.convert import CodeConfig, convert
from otters_lab.ttfs.statistics import SiteSummary


class Section(StrictModel):
    """The section "otters" of config.json: what a network is beyond its transformers class."""

    schema_version: Literal[1] = 1
    task: str
    code: CodeConfig
    weight_bits: Literal[1] = 1
    state_bits: Literal[1] = 1  # keys and values
    calibration_sha256: str | None


class SiteList(StrictModel):
    """The file sites.json; means over the task's validation part, ideal device."""

    sites: list[SiteSummary]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint; both models are in eval mode. `calibration` holds the embedded file's bytes."""

    folder: Path
    section: Section
    student: ViTForImageClassification
    teacher: ViTForImageClassification
    sites: list[SiteSummary]
    calibration: bytes | None
    header: Header


def write_checkpoint(
    folder: Path,
    student: ViTForImageClassification,
    teacher: ViTForImageClassification,
    section: Section,
    sites: Sequence[SiteSummary],
    calibration: bytes | None,
    header: Header,
) -> Header:
    """Writes a checkpoint; a training log that stands in the folder becomes part of it. Returns the sealed header.

    The provenance file is written last, so a folder that is not whole does not load.
    """
    (folder / PROVENANCE).unlink(missing_ok=True)
    _write_model(folder, student, {"otters": section.model_dump()})
    _write_model(folder / TEACHER, teacher, {})
    write_atomically(folder / SITES, pretty_json(SiteList(sites=list(sites)).model_dump()))
    if calibration is None:
        (folder / CALIBRATION).unlink(missing_ok=True)
    else:
        write_atomically(folder / CALIBRATION, calibration)
    names = [CONFIG, WEIGHTS, f"{TEACHER}/{CONFIG}", f"{TEACHER}/{WEIGHTS}", SITES, CALIBRATION, LOG]
    files = {name: sha256_file(folder / name) for name in names if (folder / name).exists()}
    sealed = header.model_copy(update={"payload_digest": sha256_bytes(canonical_json(files))})
    write_atomically(folder / PROVENANCE, pretty_json({**sealed.model_dump(), "files": files}))
    return sealed


def _write_model(folder: Path, model: ViTForImageClassification, extra: dict[str, Any]) -> None:
    config = {**model.config.to_diff_dict(), "architectures": [type(model).__name__], **extra}
    write_atomically(folder / CONFIG, pretty_json(config))
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, tensors_to_bytes(tensors, metadata={"format": "pt"}))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Checks every recorded hash, then loads.

    Raises
    ------
    InputError
        if there is no such folder, or it holds no checkpoint.
    DamagedFileError
        if a file is missing, altered, or does not describe the network.
    """
    if not folder.is_dir():
        raise InputError("no such folder", file=folder)
    if not (folder / PROVENANCE).exists():
        raise InputError(f"is not a checkpoint: it has no {PROVENANCE}", file=folder)
    header = check_files(folder)
    config, section = _read_config(folder / CONFIG)
    if section is None:
        raise DamagedFileError(folder / CONFIG, 'has no section "otters"')
    student = convert(ViTForImageClassification(config), section.code)
    teacher = ViTForImageClassification(_read_config(folder / TEACHER / CONFIG)[0])
    for model, path in ((student, folder / WEIGHTS), (teacher, folder / TEACHER / WEIGHTS)):
        try:
            model.load_state_dict(tensors_from_bytes(read_bytes(path)))
        except (RuntimeError, ValueError) as error:
            raise DamagedFileError(path, f"does not fit its config: {error}") from None
    sites = validated(SiteList, folder / SITES, read_json(folder / SITES)).sites
    calibration = read_bytes(folder / CALIBRATION) if (folder / CALIBRATION).exists() else None
    return Checkpoint(folder, section, student.eval(), teacher.eval(), sites, calibration, header)


def _read_config(path: Path) -> tuple[ViTConfig, Section | None]:
    record = read_json(path)
    section = record.pop("otters", None)
    parsed = None if section is None else validated(Section, path, section)
    return ViTConfig.from_dict(record), parsed
