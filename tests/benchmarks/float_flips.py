"""How often neurons fire another level when their layer is computed in floats instead of exactly.

    OMP_NUM_THREADS=1 python tests/benchmarks/float_flips.py --output tests/benchmarks/results/float_flips.json

Network: a small BERT with random weights on random ids. It runs on the exact machine; at every site the same inputs
also go the way of training, in floats, so that each neuron is judged alone; then the whole network goes that way, and
its queries, signs and attention probabilities are compared. bf16 is float32 under autocast.

Layer of ties: all weights of a size, no bias, and alpha_out/(s*alpha_in) an even integer but for the rounding of
alpha_out, so that many membranes lie on a threshold or within a rounding of it. Exact ties: powers of two throughout.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert
from otters_lab.ttfs.exact import ClosedForm, running_on
from otters_lab.ttfs.functional import weight_signs
from otters_lab.ttfs.layers import SiteShape, TTFSCode, TTFSLinear

COMMAND = "OMP_NUM_THREADS=1 python tests/benchmarks/float_flips.py --output tests/benchmarks/results/float_flips.json"
DTYPES = ("float64", "float32", "bfloat16")


def casting(dtype: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if dtype == "bfloat16" else nullcontext()


def parameters_of(dtype: str) -> torch.dtype:
    return torch.float64 if dtype == "float64" else torch.float32


def in_floats(module: Any, x: Tensor, dtype: str) -> Tensor:
    """What a site or layer gives without its machine."""
    codes = [part for part in module.modules() if isinstance(part, TTFSCode)]
    machines = [code.machine for code in codes]
    for code in codes:
        code.machine = None
    try:
        with casting(dtype):
            levels: Tensor = module.forward(x)
    finally:
        for code, machine in zip(codes, machines, strict=True):
            code.machine = machine
    return levels


def network(dtype: str, examples: int, tokens: int) -> dict[str, Any]:
    torch.manual_seed(1)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    plain = BertForSequenceClassification(BertConfig(vocab_size=1000, initializer_range=0.3, **shape)).eval()
    model = convert(plain, CodeConfig()).to(parameters_of(dtype))
    ids = torch.randint(0, 1000, (examples, tokens))
    calibrate_scales(model, lambda: model(ids))
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    exact: dict[str, Tensor] = {}

    def judge(name: str, module: Any, args: tuple[Tensor, ...], levels: Tensor) -> None:
        code = module if isinstance(module, TTFSCode) else module.code
        if code.machine is None:  # neurons of a layer that is itself being judged
            return
        exact[name] = levels
        where = "digital values to levels" if isinstance(module, TTFSCode) else "membranes to levels or signs"
        counts[where][0] += int((in_floats(module, args[0], dtype) != levels).sum())
        counts[where][1] += levels.numel()

    fired: dict[str, Tensor] = {}
    firing = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, TTFSCode) or (isinstance(module, TTFSLinear) and module.neurons is not None)
    }
    hooks = [
        module.register_forward_hook(lambda m, a, out, name=name: judge(name, m, a, out))  # type: ignore[misc]
        for name, module in firing.items()
    ]
    with running_on(model):
        logits = model(ids).logits
    for hook in hooks:
        hook.remove()
    for name, module in firing.items():
        module.register_forward_hook(lambda m, a, out, name=name: fired.__setitem__(name, out))  # type: ignore[misc]
    with torch.no_grad(), casting(dtype):
        floats = model(ids).logits
    both = [name for name in fired if name in exact]
    whole = [sum(int((fired[n] != exact[n]).sum()) for n in both), sum(exact[n].numel() for n in both)]
    result = {where: shares(*found) for where, found in counts.items()}
    return {
        **result,
        "whole network in floats": shares(*whole),
        "largest difference of a logit": float((floats - logits).abs().max()),
    }


def layer_of_ties(dtype: str, reads: int, dyadic: bool = False) -> dict[str, Any]:
    """Two rails, 4 bits: 64 lines to 64 neurons, alpha_out = 2, 4 or 6 times s*alpha_in as the dtype has it."""
    generator = torch.Generator().manual_seed(2)
    total = [0, 0]
    for factor in (2, 4, 6) * 4:
        kind = parameters_of(dtype)
        neurons = TTFSCode(SiteShape("query", 1, 64, 0), 4, "two rails")
        layer = TTFSLinear(nn.Linear(64, 64, bias=False), 4, "two rails", "row", neurons).to(kind)
        scale, alpha = torch.rand(2, generator=generator, dtype=torch.float64) * 0.2 + 0.01
        if dyadic:
            scale, alpha = torch.exp2(scale.log2().floor()), torch.exp2(alpha.log2().floor())
        with torch.no_grad():
            layer.weight.copy_(weight_signs(torch.randn(64, 64, generator=generator)) * scale)
            layer.code.alpha.copy_(alpha)
            neurons.alpha.copy_(factor * layer.weight.abs().mean(dim=1)[0] * layer.code.alpha)
            x = layer.code.alpha * torch.randint(-15, 16, (reads, 64), generator=generator).to(kind)
            machine = ClosedForm()
            sums = machine.accumulate(layer.code, machine.encode(layer.code, x), weight_signs(layer.weight))
            total[0] += int((in_floats(layer, x, dtype) != machine.fire(layer, sums)).sum())
            total[1] += sums.numel()
    return shares(*total)


def shares(flipped: int, neurons: int) -> dict[str, Any]:
    return {"flipped": flipped, "neurons": neurons, "share": float(f"{flipped / neurons:.3g}")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=64)
    arguments = parser.parse_args()
    result = {
        "command": COMMAND,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}",
        "origin": "synthetic",
        "network": {dtype: network(dtype, arguments.examples, 16) for dtype in DTYPES},
        "layer of ties": {dtype: layer_of_ties(dtype, 1000) for dtype in DTYPES},
        "layer of exact ties": {dtype: layer_of_ties(dtype, 1000, dyadic=True) for dtype in DTYPES},
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    json.dump(result, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
