"""A trained text student in a megabyte or two: signs as bits, the rest as it is, what it shares with its base left out.

The embeddings of a student are its base's, which training leaves alone; so is whatever else equals it. A packed file
names the base and the SHA-256 of its weights, and is refused with another. Of the teacher it holds the answers, its
logits on the validation and the test part, so that a student can be compared with it where it is not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import read_bytes, sha256_file, write_atomically
from otters_lab.core.provenance import Header, write_sidecar
from otters_lab.training.base_models import find_base
from otters_lab.training.checkpoint import Checkpoint, Section, SiteList, load_checkpoint
from otters_lab.training.measure import logits
from otters_lab.training.packed_file import ABOUT, SEAL, UNSEALED, PackedFile, read_packed, sealed
from otters_lab.training.tasks import find_task
from otters_lab.ttfs.convert import convert
from otters_lab.ttfs.functional import weight_scale, weight_signs
from otters_lab.ttfs.layers import TTFSLinear
from otters_lab.ttfs.summary import SiteSummary

_BITS, _SCALE, _ANSWERS = ".weight.bits", ".weight.scale", "teacher."
_ANSWERED = "validation", "test"


def pack(checkpoint: Checkpoint, path: Path) -> int:
    """Writes the student of a text task; returns the file's size in bytes.

    Raises
    ------
    InputError
        if its base is not a folder or package of this machine, or the task's data is not there.
    """
    student, base = checkpoint.student, checkpoint.training.teacher.base
    data = checkpoint.splits()
    answers = {part: logits(checkpoint.model_teacher, getattr(data, part)) for part in _ANSWERED}
    weights = _base_file(base)
    shared = tensors_from_bytes(read_bytes(weights))
    linears = {name: module for name, module in student.named_modules() if isinstance(module, TTFSLinear)}
    kept: dict[str, Tensor] = {}
    for name, tensor in student.state_dict().items():
        owner = name.removesuffix(".weight")
        if name.endswith(".weight") and owner in linears:
            bits = np.packbits(weight_signs(tensor).numpy() > 0, axis=1)
            kept[owner + _BITS] = torch.from_numpy(bits)
            kept[owner + _SCALE] = weight_scale(tensor, linears[owner].per).contiguous()
            continue
        same = shared.get(_bare(student, name))
        if same is None or same.shape != tensor.shape or not torch.equal(same.to(tensor.dtype), tensor):
            kept[name] = tensor.contiguous()
    kept |= {_ANSWERS + part: found.contiguous() for part, found in answers.items()}
    header = _without_paths(checkpoint.header)
    about = {
        "section": checkpoint.section.model_dump(),
        "header": header.model_dump(),
        "sites": [site.model_dump() for site in checkpoint.sites],
        "base": base,
        "base_sha256": sha256_file(weights),
    }
    packed = sealed(tensors_to_bytes(kept, metadata={ABOUT: json.dumps(about), SEAL: UNSEALED}))
    write_atomically(path, packed)
    write_sidecar(path, header)
    return len(packed)


def _without_paths(header: Header) -> Header:
    """A header as others may have it: where data and earlier networks lay on this machine is not in it."""
    config = {**header.config, "data": None, "student": None, "layers": None}
    config["teacher"] = {**config["teacher"], "trained": None}
    return header.model_copy(update={"config": config, "command": []})


class Base(NamedTuple):
    """The pre-trained encoder that a student was packed against."""

    name: str
    sha256: str


def packed_about(path: Path) -> tuple[PackedFile, Section, list[SiteSummary], Base]:
    """What a packed file says of the student; needs no base.

    Raises
    ------
    InputError
        if there is no such file.
    DamagedFileError
        if it does not hold a packed student, or was altered.
    """
    packed = read_packed(path)
    about = packed.about
    try:
        section, sites = Section.model_validate(about["section"]), SiteList(sites=about["sites"]).sites
        tensors_from_bytes(packed.data)
        return packed, section, sites, Base(about["base"], about["base_sha256"])
    except (KeyError, ValueError, TypeError, SafetensorError) as error:
        raise DamagedFileError(path, f"is not a packed student: {error}") from None


def unpack(path: Path) -> Checkpoint:
    """The checkpoint that a packed file is of, without its teacher and calibration. The student's scores are the
    original's; its latent weights are the signs at their scale.

    Raises
    ------
    InputError
        if its base is not there, or is another one.
    DamagedFileError
        if the file does not hold a packed student, or was altered.
    """
    packed, section, sites, base = packed_about(path)
    kept = tensors_from_bytes(packed.data)
    weights = _base_file(base.name)
    if sha256_file(weights) != base.sha256:
        raise InputError("the base is another one than it was packed with", file=weights,
                         found=sha256_file(weights)[:12], expected=base.sha256[:12])  # fmt: skip
    config = AutoConfig.from_pretrained(find_base(base.name), num_labels=find_task(section.task).labels)
    model: Any = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    convert(model, section.code)
    shared, state = tensors_from_bytes(read_bytes(weights)), {}
    linears = {name: module for name, module in model.named_modules() if isinstance(module, TTFSLinear)}
    for name, tensor in model.state_dict().items():
        owner = name.removesuffix(".weight")
        if name.endswith(".weight") and owner in linears:
            state[name] = _latent(kept[owner + _BITS], kept[owner + _SCALE], tensor.shape, linears[owner].per)
        else:
            state[name] = kept[name] if name in kept else shared[_bare(model, name)].to(tensor.dtype)
    model.load_state_dict(state)
    answers = {part: kept[_ANSWERS + part] for part in _ANSWERED}
    return Checkpoint(path, section, model.eval(), None, sites, None, packed.header, answers)


def load_student(path: Path) -> Checkpoint:
    """A checkpoint (a folder) or a packed student (a file).

    Raises
    ------
    InputError, DamagedFileError
        as `load_checkpoint` and `unpack`.
    """
    return unpack(path) if path.is_file() else load_checkpoint(path)


def _latent(bits: Tensor, scale: Tensor, shape: torch.Size, per: Any) -> Tensor:
    """Weights with these signs whose mean magnitude is the scale, to the last bit where rounding allows it."""
    signs = torch.from_numpy(np.unpackbits(bits.numpy(), axis=1, count=shape[1])).to(scale.dtype) * 2 - 1
    size = scale.clone()
    for _ in range(4):  # a sum of equal numbers is rounded, and so may be their mean
        off = scale - weight_scale(signs * (size[:, None] if per == "row" else size), per)
        size = size + off
    return signs * (size[:, None] if per == "row" else size)


def _bare(model: PreTrainedModel, name: str) -> str:
    """A parameter's name in the base's own file, which has no head."""
    return name.removeprefix(f"{model.base_model_prefix}.")


def _base_file(base: str) -> Path:
    path = Path(find_base(base)) / "model.safetensors"
    if not path.is_file():
        raise InputError("a student is packed against a base that is here", found=base, expected="a folder, or minilm")
    return path
