"""A trained network as a folder: Hugging Face layout, its teacher, its calibration, and a hash of every file.

config.json, model.safetensors    the student, as save_pretrained writes it; config.json has our section "otters"
tokenizer.json, ...               of a text task
teacher/                          the same two files of the teacher
calibration.json                  the calibration's bytes as they were, if there was one
sites.json                        what each site fires an inference
training.jsonl                    the training log
otters.prov.json                  the provenance header and the SHA-256 of every file above
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import transformers
from torch import Tensor
from transformers import PreTrainedModel

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
from otters_lab.training.base_models import quietly
from otters_lab.training.checkpoint_files import (
    CALIBRATION,
    CONFIG,
    LOG,
    PROVENANCE,
    SITES,
    TEACHER,
    TOKENIZER,
    WEIGHTS,
    check_files,
    require_checkpoint,
)
from otters_lab.training.config import TrainingConfig
from otters_lab.training.examples import Examples, Splits
from otters_lab.training.taskfile import TaskFile
from otters_lab.training.tasks import Task, find_task
from otters_lab.ttfs.config import CodeConfig
from otters_lab.ttfs.hub import METHOD
from otters_lab.ttfs.summary import SiteSummary


class Section(StrictModel):
    """The section "otters" of config.json: what a network is beyond its transformers class."""

    schema_version: Literal[1] = 1
    task: str | TaskFile  # what `find_task` finds it by
    train_sha256: str | None = None  # of the examples it learnt from; earlier checkpoints have none
    code: CodeConfig
    weight_bits: Literal[1] = 1
    state_bits: Literal[1] = 1  # keys and values
    calibration_sha256: str | None


class SiteList(StrictModel):
    """The file sites.json; means over the task's validation part, ideal device."""

    sites: list[SiteSummary]


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint; both models are in eval mode. `calibration` holds the embedded file's bytes.

    A packed student (see `packed`) has no folder, teacher or calibration: `folder` is then its file, and `answers` the
    teacher's logits [n, outputs] by part of the data.
    """

    folder: Path
    section: Section
    student: PreTrainedModel
    teacher: PreTrainedModel | None
    sites: list[SiteSummary]
    calibration: bytes | None
    header: Header
    answers: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def record(self) -> Path:
        """The file that names it in the provenance of what is made from it."""
        return self.folder if self.folder.is_file() else self.folder / PROVENANCE

    @property
    def model_teacher(self) -> PreTrainedModel:
        """The teacher, to learn from.

        Raises
        ------
        InputError
            if only its answers are there.
        """
        if self.teacher is None:
            raise InputError("is a packed student, without its teacher", file=self.folder, expected="a checkpoint")
        return self.teacher

    @property
    def task(self) -> Task:
        """What the network learnt."""
        return find_task(self.section.task)

    def with_data(self, folder: Path) -> Checkpoint:
        """The same, as if it had been trained on its task's data in another folder."""
        config = {**self.header.config, "data": str(folder)}
        return replace(self, header=self.header.model_copy(update={"config": config}))

    def splits(self) -> Splits:
        """The data of its task.

        Raises
        ------
        InputError
            if they are not there; or if what is learned from has changed: parts that are split off it would then hold
            what the network has learnt from.
        """
        data = self.task.splits(self.training)
        self.refuse_other(data.train)
        return data

    def refuse_other(self, train: Examples) -> None:
        """Refuses examples to learn from that are not those of this network, where it is known what those were.

        Raises
        ------
        InputError
            as `splits`.
        """
        known = self.section.train_sha256
        found = None if known is None else train.digest()
        if found != known:
            raise InputError(
                f"the data of {self.task.name} are not those that the network learnt from",
                file=self.folder,
                found=f"SHA-256 {str(found)[:12]}",
                expected=str(known)[:12],
            )

    @property
    def training(self) -> TrainingConfig:
        """What the network was trained with.

        Raises
        ------
        DamagedFileError
            if the header holds no such thing.
        """
        fields = {name: value for name, value in self.header.config.items() if name in TrainingConfig.model_fields}
        return validated(TrainingConfig, self.folder / PROVENANCE, fields)


def write_checkpoint(
    folder: Path,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    section: Section,
    sites: Sequence[SiteSummary],
    calibration: bytes | None,
    header: Header,
) -> Header:
    """Writes a checkpoint; a training log that stands in the folder becomes part of it. Returns the sealed header.

    The provenance file is written last, so a folder that is not whole does not load.
    """
    (folder / PROVENANCE).unlink(missing_ok=True)
    student.config.otters = section.model_dump()
    _write_model(folder, student)
    _write_model(folder / TEACHER, teacher)
    write_atomically(folder / SITES, pretty_json(SiteList(sites=list(sites)).model_dump()))
    if calibration is None:
        (folder / CALIBRATION).unlink(missing_ok=True)
    else:
        write_atomically(folder / CALIBRATION, calibration)
    names = [CONFIG, WEIGHTS, f"{TEACHER}/{CONFIG}", f"{TEACHER}/{WEIGHTS}", SITES, CALIBRATION, LOG, *TOKENIZER]
    files = {name: sha256_file(folder / name) for name in names if (folder / name).exists()}
    sealed = header.model_copy(update={"payload_digest": sha256_bytes(canonical_json(files))})
    write_atomically(folder / PROVENANCE, pretty_json({**sealed.model_dump(), "files": files}))
    return sealed


def _write_model(folder: Path, model: PreTrainedModel) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with quietly():
        model.save_pretrained(folder)


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
    require_checkpoint(folder)
    header = check_files(folder)
    record, section = read_section(folder)
    if record.get("quantization_config", {}).get("quant_method") != METHOD:
        raise DamagedFileError(folder / CONFIG, f"is not of a network converted by {METHOD}")
    student, teacher = _read_model(folder, record), _read_model(folder / TEACHER, read_json(folder / TEACHER / CONFIG))
    sites = read_sites(folder)
    calibration = read_bytes(folder / CALIBRATION) if (folder / CALIBRATION).exists() else None
    task = find_task(section.task)
    for model in (student, teacher):
        task.freeze(model)
    return Checkpoint(folder, section, student.eval(), teacher.eval(), sites, calibration, header)


def read_section(folder: Path) -> tuple[dict[str, Any], Section]:
    """The config.json of a checkpoint, and our section of it.

    Raises
    ------
    DamagedFileError
        if it has none, or it is not what it should be.
    """
    record = read_json(folder / CONFIG)
    if not isinstance(record, dict) or "otters" not in record:
        raise DamagedFileError(folder / CONFIG, 'has no section "otters"')
    return record, validated(Section, folder / CONFIG, record["otters"])


def read_sites(folder: Path) -> list[SiteSummary]:
    """What the sites of a checkpoint fire.

    Raises
    ------
    DamagedFileError
        if they are not what they should be.
    """
    return validated(SiteList, folder / SITES, read_json(folder / SITES)).sites


def load_earlier(folder: Path, task: Task, base: str) -> Checkpoint:
    """A checkpoint to train on from: of this task, its teacher of the pre-trained encoder `base`.

    Raises
    ------
    InputError, DamagedFileError
        as `load_checkpoint`; and for a checkpoint of another task, or of a teacher of another pre-trained encoder.
    """
    found = load_checkpoint(folder)
    if found.section.task != task.recorded:
        raise InputError("its teacher learnt another task", file=folder, found=found.task.name, expected=task.name)
    if found.training.teacher.base != base:
        raise InputError(
            "its teacher was another encoder", file=folder, found=found.training.teacher.base, expected=base
        )
    return found


def _read_model(folder: Path, record: Any) -> PreTrainedModel:
    names = record.get("architectures") if isinstance(record, dict) else None
    made = getattr(transformers, names[0], None) if names else None
    if made is None:
        raise DamagedFileError(folder / CONFIG, f"names no class of transformers: {names}")
    try:
        with quietly():
            model: PreTrainedModel = made.from_pretrained(folder, attn_implementation=None)
    except (RuntimeError, ValueError, OSError) as error:
        raise DamagedFileError(folder / WEIGHTS, f"does not fit its config: {error}") from None
    return model
