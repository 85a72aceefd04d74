"""Speed and memory of the time-to-first-spike network beside the float model, an explicit simulation, and peers.

    python tests/benchmarks/bench_ttfs.py --output tests/benchmarks/results/ttfs.json

Shape of MiniLM-L6: 6 layers, hidden 384, 12 heads, feed-forward 1536, random weights, batch 32, length 32, no dropout.
"Whole model" is transformers' BertModel; "linears" is the stack of its encoder's linear layers alone, 6 times
[4 x 384->384, 384->1536, 1536->384] on 1024 tokens, which every peer can be given. A step is forward and backward
without an optimiser; drawing the devices of a batch is part of ours. Variants of a row take turns, round by round, in
one process with the same dtype and threads; ratios are medians of a round's ratios. Peers that are not installed are
left out and named.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from otters_lab.calibration.file import read_calibration
from otters_lab.ttfs.config import NoiseConfig
from otters_lab.ttfs.convert import CodeConfig, calibrate_scales, convert
from otters_lab.ttfs.device import Devices, using
from otters_lab.ttfs.functional import levels_of, scaled, weight_scale, weight_signs
from otters_lab.ttfs.layers import TTFSLinear

LAYERS, HIDDEN, HEADS, WIDE, BATCH, LENGTH, VOCABULARY = 6, 384, 12, 1536, 32, 32, 30522
BITS = 4
SHAPES = LAYERS * [*4 * [(HIDDEN, HIDDEN)], (HIDDEN, WIDE), (WIDE, HIDDEN)]
CALIBRATION = Path(__file__).parents[2] / "calibration" / "reference.json"
PEERS = {"spikingjelly": "SpikingJelly", "snntorch": "snnTorch", "aihwkit_lightning": "aihwkit-lightning"}
SLOW_S = 2.0  # what takes longer than this takes part in three rounds only

Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Variant:
    """A network and what runs it. `run` gives its output, drawing devices first where it has any."""

    module: nn.Module
    run: Run
    trains: bool = True


def model_config(attention: str) -> BertConfig:
    return BertConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=WIDE, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        attn_implementation=attention,
    )  # fmt: skip


# Place of run-to-run noise, and whether devices differ, each synapse with a device of its own.
NOISES: dict[str, tuple[NoiseConfig, bool]] = {
    "hybrid, per layer": (NoiseConfig(run_place="layer"), False),
    "hybrid, per line": (NoiseConfig(run_place="line"), False),
    "hybrid, per synapse": (NoiseConfig(run_place="synapse", run_time="token"), False),
    "hybrid, per layer, devices per synapse": (NoiseConfig(run_place="layer", device_place="synapse"), True),
    "hybrid, per synapse, devices per synapse": (
        NoiseConfig(run_place="synapse", run_time="token", device_place="synapse"),
        True,
    ),
}
FLOATS = ("float, eager", "float, sdpa")
WHOLE = (*FLOATS, "QNN", *NOISES)
LINEARS = ("float", "QNN", *NOISES, "explicit ticks")
PEER_LINEARS = (
    "aihwkit-lightning AnalogLinear",
    *(f"SpikingJelly {kind}, T = {T}" for kind, T in (("IF", 4), ("LIF", 4), ("LIF", 15))),
    *(f"snnTorch Leaky, T = {T}" for T in (4, 15)),
)


def reader(devices: bool) -> Any:
    return read_calibration(CALIBRATION).device_model().reader(2**BITS, devices=devices)


def with_devices(module: nn.Module, run: Run, name: str) -> Run:
    """The same with devices drawn for a batch of new examples each time."""
    config, differ = NOISES[name]
    devices = Devices(reader(differ), (20261125,), config, max_tokens=LENGTH)
    at = [0]

    def noisy() -> Tensor:
        ids = range(at[0], at[0] + BATCH)
        at[0] += BATCH
        with using(module, devices, ids):
            return run()

    return noisy


def on_whole(name: str, fit: bool) -> Variant:
    torch.manual_seed(1)
    model = BertModel(model_config("sdpa" if name == "float, sdpa" else "eager"), add_pooling_layer=False)
    ids = torch.randint(1000, VOCABULARY, (BATCH, LENGTH))
    mask = torch.ones_like(ids)
    mask[::2, LENGTH - 4 :] = 0  # padding, so that masks are not skipped

    def run() -> Tensor:
        found: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return found

    if name in FLOATS:
        return Variant(model, run)
    convert(model, CodeConfig(bits=BITS))
    set_scales(model, fit, lambda: model(input_ids=ids[:4], attention_mask=mask[:4]))
    return Variant(model, run if name == "QNN" else with_devices(model, run, name))


def set_scales(module: nn.Module, fit: bool, forward: Callable[[], object]) -> None:
    """From data; or to anything, where only memory counts."""
    if fit:
        calibrate_scales(module, forward)
        return
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("alpha"):
                parameter.fill_(0.2)


def tokens() -> Tensor:
    return torch.randn(BATCH, LENGTH, HIDDEN, generator=torch.Generator().manual_seed(1))


def digital() -> list[nn.Linear]:
    torch.manual_seed(1)
    return [nn.Linear(*shape) for shape in SHAPES]


class Ticks(nn.Module):
    """A coded 1-bit linear simulated tick by tick: spikes [T*B, tokens, in] through the synapses in one product, each
    tick's currents weighted with what a device gives at it.
    """

    def __init__(self, layer: TTFSLinear) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, code = self.layer, self.layer.code
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
        nominal = levels_of(x.to(code.alpha.dtype), code.alpha, code.top, code.signed)
        levels = torch.arange(code.top, 0, -1, dtype=nominal.dtype)  # of the ticks, in their order
        spikes = (nominal.abs()[None] == levels[:, None, None, None]).to(dtype) * nominal.sign().to(dtype)
        signs = weight_signs(layer.weight).to(dtype)
        currents = nn.functional.linear(spikes.flatten(0, 1), signs).unflatten(0, (code.top, -1))
        sums = torch.einsum("t,tblo->blo", levels, currents.to(nominal.dtype)).to(dtype)
        return scaled(sums, signs, weight_scale(layer.weight, layer.per), layer.bias, code.alpha, None)


def on_linears(name: str, fit: bool) -> Variant:
    x = tokens()
    if name == "float":
        stack = nn.Sequential(*digital())
        return Variant(stack, lambda: stack(x))
    if name in PEER_LINEARS:
        return on_peer(name, x)
    ours = nn.Sequential(*(TTFSLinear(linear, BITS, "two rails", "row", None) for linear in digital()))
    set_scales(ours, fit, lambda: ours(x[:4]))
    if name == "explicit ticks":
        ticks = nn.Sequential(*(Ticks(layer) for layer in ours))
        return Variant(ticks, lambda: ticks(x), trains=False)

    def run() -> Tensor:
        found: Tensor = ours(x)
        return found

    return Variant(ours, run if name == "QNN" else with_devices(ours, run, name))


def on_peer(name: str, x: Tensor) -> Variant:
    with contextlib.redirect_stdout(sys.stderr):
        if name.startswith("aihwkit"):
            return analog(x)
        family, T = name.split()[0], int(name.rpartition(" ")[2])
        return jelly(x, "LIF" in name, T) if family == "SpikingJelly" else snn(x, T)


def analog(x: Tensor) -> Variant:
    """Learned input ranges, inputs of as many levels as ours, noise on the weights drawn for each batch."""
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig, WeightNoiseInjectionType

    config = TorchInferenceRPUConfig()
    config.forward.inp_res = 2.0 ** (BITS + 1) - 2
    config.modifier.noise_type = WeightNoiseInjectionType.ADD_NORMAL_PER_CHANNEL
    config.modifier.std_dev = 0.02
    config.pre_post.input_range.enable = True
    config.pre_post.input_range.init_from_data = 0  # as after its first batches
    stack = nn.Sequential(*(AnalogLinear.from_digital(linear, config) for linear in digital()))
    return Variant(stack.train(), lambda: stack(x))


def jelly(x: Tensor, leaky: bool, T: int) -> Variant:
    from spikingjelly.activation_based import functional, layer, neuron

    made: list[nn.Module] = []
    for shape in SHAPES:
        made += [layer.Linear(*shape), neuron.LIFNode() if leaky else neuron.IFNode()]
    stack = nn.Sequential(*made)
    functional.set_step_mode(stack, "m")

    def run() -> Tensor:
        functional.reset_net(stack)
        found: Tensor = stack(x.expand(T, *x.shape)).mean(dim=0)
        return found

    return Variant(stack, run)


def snn(x: Tensor, T: int) -> Variant:
    import snntorch

    linears = nn.ModuleList(digital())
    neurons = nn.ModuleList(snntorch.Leaky(beta=0.9) for _ in SHAPES)

    def run() -> Tensor:
        membranes: list[Any] = [None] * len(SHAPES)
        for neuron in neurons:
            neuron.reset_mem()
        total: Tensor | int = 0
        for _ in range(T):
            y = x
            for place, (linear, neuron) in enumerate(zip(linears, neurons, strict=True)):
                y, membranes[place] = neuron(linear(y), membranes[place])
            total = total + y
        assert isinstance(total, Tensor)
        return total / T

    return Variant(nn.ModuleList([linears, neurons]), run)


def make(table: str, name: str, fit: bool = True) -> Variant:
    return on_whole(name, fit) if table == "whole model" else on_linears(name, fit)


def missing_peers() -> dict[str, str]:
    """Why a peer is left out."""
    found = {}
    for package, name in PEERS.items():
        try:
            with contextlib.redirect_stdout(sys.stderr):
                if package == "spikingjelly":
                    __import__("spikingjelly.activation_based.neuron")
                else:
                    __import__(f"{package}.nn" if package == "aihwkit_lightning" else package)
        except Exception as error:  # whatever a foreign package does when it is imported
            found[name] = f"not installed: {error}"
            print(f"{name} is left out, {found[name]}", file=sys.stderr)
    return found


def peer_versions(missing: dict[str, str]) -> dict[str, str]:
    return {
        name: missing.get(name) or metadata.version(package.replace("_", "-").lower())
        for package, name in PEERS.items()
    }


@contextlib.contextmanager
def autocast(dtype: str) -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        yield


def call(variant: Variant, mode: str, dtype: str) -> Callable[[], None]:
    """What is timed: a forward pass without gradients, or a training step."""

    def forward() -> None:
        with torch.no_grad(), autocast(dtype):
            variant.run()

    def step() -> None:
        for parameter in variant.module.parameters():
            parameter.grad = None
        with autocast(dtype):
            loss = variant.run().float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]

    return forward if mode == "forward" else step


def timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def row(works: dict[str, Callable[[], None]], rounds: int, slow_s: float = SLOW_S) -> dict[str, list[float | None]]:
    """Seconds of each in every round, one after the other; the slow ones in the first, the middle and the last."""
    slow = set()
    for name, work in works.items():
        if timed(work) > slow_s and timed(work) > slow_s:
            slow.add(name)
    few = {0, rounds // 2, rounds - 1}
    found: dict[str, list[float | None]] = {name: [] for name in works}
    collects = gc.isenabled()
    for turn in range(rounds):
        gc.collect()
        gc.disable()
        for name, work in works.items():
            found[name].append(None if name in slow and turn not in few else timed(work))
        if collects:
            gc.enable()
    return found


def digest(seconds: dict[str, list[float | None]], bases: dict[str, str]) -> dict[str, Any]:
    """Median, least and largest milliseconds, and the median of a round's ratios to each base that is there."""
    result: dict[str, Any] = {}
    for name, found in seconds.items():
        taken = [s for s in found if s is not None]
        entry: dict[str, Any] = {
            "ms": round(1e3 * statistics.median(taken), 2),
            "least": round(1e3 * min(taken), 2),
            "largest": round(1e3 * max(taken), 2),
            "rounds": len(taken),
        }
        for label, base in bases.items():
            if base in seconds:
                ratios = [a / b for a, b in zip(found, seconds[base], strict=True) if a is not None and b is not None]
                if ratios:
                    entry[label] = round(statistics.median(ratios), 3)
                    entry[f"{label}, range"] = [round(min(ratios), 3), round(max(ratios), 3)]
        result[name] = entry
    return result


def chosen(given: argparse.Namespace, table: str, missing: dict[str, str]) -> list[str]:
    names = WHOLE if table == "whole model" else LINEARS + PEER_LINEARS
    return [
        name
        for name in names
        if not any(name.startswith(peer) for peer in missing)
        and (given.only is None or any(word in name for word in given.only.split(";")))
    ]


def speed(given: argparse.Namespace, table: str, missing: dict[str, str]) -> list[dict[str, Any]]:
    variants = {name: make(table, name) for name in chosen(given, table, missing)}
    found = []
    for threads in given.threads:
        torch.set_num_threads(threads)
        for dtype in given.dtypes:
            for mode in given.modes:
                works = {
                    name: call(variant, mode, dtype)
                    for name, variant in variants.items()
                    if mode == "forward" or variant.trains
                }
                wall, cpu = time.perf_counter(), time.process_time()
                seconds = row(works, given.rounds)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                floats = [name for name in works if name.startswith("float")]
                fastest = min(floats, key=lambda name: statistics.median(s for s in seconds[name] if s is not None))
                entry = {
                    "table": table,
                    "mode": mode,
                    "dtype": dtype,
                    "threads": threads,
                    "CPU seconds a second": round(cpu / wall, 2),  # short of the threads where others had the cores
                    "float": fastest,
                    "variants": digest(seconds, {"to float": fastest, "to QNN": "QNN"}),
                }
                found.append(entry)
                show(entry)
                for variant in variants.values():
                    variant.module.zero_grad()
                gc.collect()
    return found


def show(entry: dict[str, Any]) -> None:
    threads = f"{entry['threads']} thread{'s' if entry['threads'] > 1 else ''}"
    cores = f"{entry['CPU seconds a second']} CPU s/s"
    print("\n" + ", ".join([entry["table"], entry["mode"], entry["dtype"], threads, cores]), file=sys.stderr)
    for name, values in entry["variants"].items():
        print(
            f"  {name:42s}{values['ms']:10.1f} ms  {values['least']:9.1f} ..{values['largest']:9.1f}"
            f"  {values.get('to float', float('nan')):8.2f} x float {values.get('to QNN', float('nan')):8.2f} x QNN",
            file=sys.stderr,
            flush=True,
        )


def same_ticks() -> dict[str, float]:
    """The explicit simulation's largest difference from the quantised stack, layer by layer, of the largest output."""
    ours, ticks = on_linears("QNN", True).module, on_linears("explicit ticks", True).module
    x, worst = tokens(), 0.0
    with torch.no_grad():
        for layer, simulated in zip(ours.children(), ticks.children(), strict=True):
            y = layer(x)
            worst = max(worst, float((simulated(x) - y).abs().max() / y.abs().max()))
            x = y
    return {"largest difference of ticks from QNN": worst}


# Memory


def peak_now() -> tuple[int, int]:
    """(resident, largest resident so far) bytes; where the system allows, the largest since the last call."""
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return largest, largest
    # A child's ru_maxrss starts at its parent's; VmHWM is its own, and can be set back to what is resident now.
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    resident, largest = (1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return resident, largest


def measure_memory(table: str, name: str, dtype: str) -> None:
    """In a process of its own: prints the peak of two training steps above what the built model takes."""
    torch.set_num_threads(1)
    variant = make(table, name, fit=False)
    gc.collect()
    peak_now()
    before, _ = peak_now()
    step = call(variant, "step", dtype)
    step()
    step()
    print(json.dumps({"bytes": peak_now()[1] - before}))


def memory(given: argparse.Namespace, missing: dict[str, str]) -> list[dict[str, Any]]:
    found = []
    for table in given.tables:
        for dtype in given.dtypes:
            peaks = {}
            for name in chosen(given, table, missing):
                if name == "explicit ticks":
                    continue
                command = [sys.executable, __file__, "--memory-of", table, name, dtype]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                peaks[name] = json.loads(done.stdout.splitlines()[-1])["bytes"]
            base = peaks.get("QNN")
            entry = {
                "table": table,
                "dtype": dtype,
                "variants": {
                    name: {"MB": round(peak / 1e6, 1), "to QNN": round(peak / base, 3) if base else None}
                    for name, peak in peaks.items()
                },
            }
            found.append(entry)
            print(json.dumps(entry, indent=1), file=sys.stderr, flush=True)
    return found


# torch.compile


def compiled(rounds: int) -> dict[str, Any]:
    """The whole model as it is and compiled: which is faster, and whether outputs and gradients agree."""
    compiler = next((found for name in (os.environ.get("CXX", ""), "g++", "clang++") if (found := shutil.which(name))),
                    None)  # fmt: skip
    if compiler is None:
        return {"left out": "no C++ compiler"}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        try:
            return {name: compiled_pair(name, rounds) for name in ("float, sdpa", "QNN")}
        except Exception as error:  # of torch's own making
            return {"left out": f"{type(error).__name__}: {str(error).splitlines()[0]}"}


def compiled_pair(name: str, rounds: int) -> dict[str, Any]:
    plain = on_whole(name, True)
    again = on_whole(name, True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    again.module.compile()
    result: dict[str, Any] = {"dtype": "fp32", "threads": 1}
    for mode in ("forward", "step"):
        works = {"off": call(plain, mode, "fp32"), "on": call(again, mode, "fp32")}
        result["seconds to compile, " + mode] = round(timed(works["on"]), 1)
        result[mode] = digest(row(works, rounds), {"to off": "off"})
    graphs = torch._dynamo.utils.counters
    result["graphs"], result["graph breaks"] = graphs["stats"]["unique_graphs"], sum(graphs["graph_break"].values())
    with torch.no_grad():
        a, b = plain.run(), again.run()
    result["largest difference of outputs"] = float((a - b).abs().max())
    result["share of outputs that differ by over 1e-4"] = float(((a - b).abs() > 1e-4).float().mean())
    result["relative difference of all gradients"] = gradient_difference(plain.module, again.module)
    print(json.dumps({name: result}, indent=1), file=sys.stderr, flush=True)
    return result


def gradient_difference(one: nn.Module, other: nn.Module) -> float:
    pairs = [(p.grad, q.grad) for p, q in zip(one.parameters(), other.parameters(), strict=True)]
    apart = sum(float((p - q).double().square().sum()) for p, q in pairs if p is not None and q is not None)
    size = sum(float(p.double().square().sum()) for p, _ in pairs if p is not None)
    return float((apart / size) ** 0.5)


def words(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=lambda text: [int(part) for part in words(text)], default=[1, 2])
    parser.add_argument("--dtypes", type=words, default=["fp32", "bf16"])
    parser.add_argument("--modes", type=words, default=["forward", "step"])
    parser.add_argument("--tables", type=words, default=["whole model", "linears"])
    parser.add_argument("--only", help="variants with one of these in their name, apart by semicolons")
    parser.add_argument("--parts", type=words, default=["memory", "speed", "compile"])
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    if given.memory_of:
        measure_memory(*given.memory_of)
        return
    missing = missing_peers()
    record: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "torch": torch.__version__,
        "transformers": metadata.version("transformers"),
        "peers": peer_versions(missing),
        "origin": "synthetic",
        "shape": {"layers": LAYERS, "hidden": HIDDEN, "heads": HEADS, "feed-forward": WIDE, "batch": BATCH,
                  "length": LENGTH, "bits": BITS, "lines that are positions": LENGTH},
        "checks": same_ticks(),
    }  # fmt: skip
    if given.output and given.output.exists():  # parts that are not measured now stay as they are, with their command
        record = {**json.loads(given.output.read_text()), **record}
    made = {"command": " ".join(["python", *sys.argv]), "rounds": given.rounds}
    if "memory" in given.parts:
        record["peak memory of a step, one thread"] = {**made, "tables": memory(given, missing)}
    if "speed" in given.parts:
        now = [{**made, **entry} for table in given.tables for entry in speed(given, table, missing)]
        keys = ("table", "mode", "dtype", "threads")
        measured = [[entry[key] for key in keys] for entry in now]
        kept = [entry for entry in record.get("speed", []) if [entry[key] for key in keys] not in measured]
        record["speed"] = kept + now
    if "compile" in given.parts:
        record["torch.compile"] = {**made, **compiled(given.rounds)}
    text = json.dumps(record, indent=2) + "\n"
    if given.output:
        given.output.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
