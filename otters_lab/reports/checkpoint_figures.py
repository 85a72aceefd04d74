"""Figures of a trained network: how it learnt, what noise does to it, what it fires, what each arm of training buys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from otters_lab.core.protocols import Array
from otters_lab.energy.mapping import layers_of
from otters_lab.reports.figures import INK, PALETTE, SIZES, Drawing, panel, plain_log_axis, shaded_cells, spread_out
from otters_lab.training.ablation import ArmResult
from otters_lab.training.evaluate import EvaluationResult
from otters_lab.ttfs.statistics import SPARSE_ALARM
from otters_lab.ttfs.summary import SiteSummary

_SWEPT = re.compile(r"(relative|curve|level):([0-9.eE+-]+)")
_MOST_POINTS = 150


def learning_figures(log: Sequence[Mapping[str, Any]], metric: str) -> list[Drawing]:
    """Loss and validation score over all steps, stage after stage; and the parts of the student's loss."""
    steps = [line for line in log if "loss" in line]
    if not steps:
        return []
    stages = list(dict.fromkeys(str(line["stage"]) for line in steps))
    begins = _begins(steps, stages)
    with panel() as (loss, axes):
        for number, stage in enumerate(stages):
            own = [line for line in steps if line["stage"] == stage]
            at, value = _column(own, "step") + begins[stage], _column(own, "loss")
            use = spread_out(at, _MOST_POINTS)
            axes.plot(at[use], value[use], lw=1.1, color=PALETTE[number % len(PALETTE)], label=stage)
        axes.set(xlabel="step, stages one after the other", ylabel="loss")
        low, high = np.nanquantile(_column(steps, "loss"), (0.02, 0.98))
        if low > 0 and high > 8 * low:
            axes.set_yscale("log")
            plain_log_axis(axes.yaxis)
        axes.legend()
    drawings = [
        Drawing(
            "loss",
            loss,
            "The loss of every twentieth step. It should fall within each stage and settle; it rises where something "
            "is switched on or ramped up (1-bit weights, noise). Teacher and student have different losses. One that "
            "still rises at its stage's end, or is no number, is not trained.",
        )
    ]
    with panel() as (scores, axes):
        for number, stage in enumerate(dict.fromkeys(str(line["stage"]) for line in log)):
            own = [line for line in log if line["stage"] == stage and line.get("validation") is not None]
            if not own:
                continue
            colour = PALETTE[stages.index(stage) % len(PALETTE)] if stage in stages else PALETTE[6 + number % 2]
            end = begins.get(stage, 0.0) + max((line["step"] for line in steps if line["stage"] == stage), default=0)
            at = np.array([begins.get(stage, 0.0) + line["step"] if "step" in line else end for line in own])
            axes.plot(at, _column(own, "validation"), "o-", ms=5, lw=1, color=colour, label=stage)
        axes.set(xlabel="step, stages one after the other", ylabel=f"validation {metric}")
        axes.legend()
    drawings.append(
        Drawing(
            "validation",
            scores,
            "Scores on the validation part, which was cut from the training data: at checks, and at each stage's end. "
            "Stages that quantise or add noise may cost a little; what they cost should come back within the stage.",
        )
    )
    parts = [name for name in ("hidden", "soft", "spikes") if any(name in line for line in steps)]
    student = [line for line in steps if any(name in line for name in parts)]
    if student:
        with panel() as (split, axes):
            at = np.array([begins[str(line["stage"])] + line["step"] for line in student])
            use = spread_out(at, _MOST_POINTS)
            for number, name in enumerate([*parts, "noise"]):
                style = "--" if name == "noise" else "-"
                axes.plot(at[use], _column(student, name)[use], style, lw=1, color=PALETTE[number], label=name)
            axes.set(xlabel="step, stages one after the other", ylabel="part of the loss; multiple of the noise")
            axes.legend()
        drawings.append(
            Drawing(
                "loss-parts",
                split,
                "What the student's loss is made of (hidden states, soft answers, the price of spikes), and how far "
                "the device's noise was ramped up. Hidden states that never come near the teacher's, or spikes that "
                "keep costing, are where to look first.",
            )
        )
    return drawings


def _begins(steps: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> dict[str, float]:
    """The step at which each stage begins, counted over all."""
    begins, total = {}, 0.0
    for stage in stages:
        begins[stage] = total
        total += max(line["step"] for line in steps if line["stage"] == stage) + 1
    return begins


def _column(lines: Sequence[Mapping[str, Any]], name: str) -> Array:
    return np.array([np.nan if line.get(name) is None else line[name] for line in lines], dtype=float)


def accuracy_figure(result: EvaluationResult) -> Drawing:
    """The main metric of each condition, single runs as dots."""
    metric = result.metric
    clean = {"teacher": result.teacher, "quantised": result.quantised, "TTFS, ideal device": result.ttfs_ideal}
    rows = [(name, scores[metric]) for name, scores in clean.items() if metric in scores]
    under = [(name, score) for name, score in result.under.items() if not _SWEPT.fullmatch(name)]
    names = [*(name for name, _ in rows), *(name for name, _ in under)]
    with panel((SIZES["panel"][0], 1.2 + 0.32 * len(names))) as (figure, axes):
        for place, (_, value) in enumerate(rows):
            axes.plot([value], [place], "D", ms=5, color=PALETTE[6])
        for place, (_, score) in enumerate(under, len(rows)):
            axes.plot(
                score.runs, place + np.linspace(-0.22, 0.22, len(score.runs)), ".", ms=3.5, color=PALETTE[0], alpha=0.6
            )
            axes.plot([score.mean], [place], "o", ms=5, color=PALETTE[1])
            if score.interval is not None:
                axes.plot(score.interval, [place, place], lw=1.5, color=PALETTE[1])
        if metric in result.teacher:
            axes.axvline(0.95 * result.teacher[metric], color=INK, lw=0.9, ls="--")
        _rows(axes, names)
        axes.set(xlabel=metric)
    return Drawing(
        "accuracy",
        figure,
        f"{metric.capitalize()} on {result.examples} examples of the {result.part} part. Dots: runs, each one draw of "
        "devices and noise; orange: their mean with its 95 % interval; dashed: 95 % of the teacher. Quantised and "
        "ideal must be equal. Runs that scatter widely mean that some devices serve the network badly.",
    )


def noise_sweep_figure(result: EvaluationResult) -> Drawing | None:
    """The metric over the size of plain noise; None where none was swept."""
    kinds: dict[str, list[tuple[float, float, float]]] = {}
    for name, score in result.under.items():
        found = _SWEPT.fullmatch(name)
        if found:
            kinds.setdefault(found[1], []).append((float(found[2]), score.mean, score.sd or 0.0))
    if not any(len(points) > 1 for points in kinds.values()):
        return None
    with panel() as (figure, axes):
        for number, (kind, points) in enumerate(kinds.items()):
            sd, mean, spread = np.array(sorted(points)).T
            axes.errorbar(sd, mean, yerr=spread, fmt="o-", ms=4, lw=1.2, color=PALETTE[number], label=kind)
        axes.axhline(result.ttfs_ideal[result.metric], color=INK, lw=0.9, ls="--", label="ideal device")
        axes.set(xlabel="sd of the noise, of the full scale", ylabel=result.metric)
        axes.legend()
    return Drawing(
        "noise-sweep",
        figure,
        "The score over the size of plain noise, by its kind (on each level, of its value, on the curve as a whole), "
        "with the sd between runs. It should stay level as far as the device's own noise reaches.",
    )


_KINDS = {
    "query": "queries (each token's)",
    "attention probability": "attention probabilities",
}


def roles_of(sites: Sequence[SiteSummary]) -> list[tuple[str, list[SiteSummary]]]:
    """Layer by layer: its name, and its sites in the order of computation."""
    return [(layer.name, [sites[number] for number in layer.sites]) for layer in layers_of(sites)]


def role(site: SiteSummary) -> str:
    """What a site does, by what its name shares with those of other layers."""
    if site.kind in _KINDS:
        return _KINDS[site.kind]
    words = [part for part in site.name.split(".") if part not in ("code", "self", "dense", "encoder", "layer")]
    after = next((i for i, word in enumerate(words) if word.isdigit()), -1)
    return "into " + " ".join(words[after + 1 :])


def rates_figure(sites: Sequence[SiteSummary]) -> Drawing:
    """Share of neurons that fire, by layer, a line a role."""
    layers = roles_of(sites)
    lines: dict[str, dict[int, float]] = {}
    for place, (_, own) in enumerate(layers):
        for site in own:
            lines.setdefault(role(site), {})[place] = site.fire_rate
    with panel((SIZES["panel"][0], 4.0)) as (figure, axes):
        for number, (name, rates) in enumerate(lines.items()):
            style = "o-" if number < len(PALETTE) else "s--"
            axes.plot(
                list(rates), list(rates.values()), style, ms=4, lw=1.1, color=PALETTE[number % len(PALETTE)], label=name
            )
        axes.axhline(SPARSE_ALARM, color=INK, lw=0.9, ls="--")
        axes.set_xticks(range(len(layers)), [name.rpartition(".")[2] for name, _ in layers])
        axes.set(xlabel="layer", ylabel="spikes a neuron", ylim=(0, 1.02))
        figure.legend(loc="outside lower center", fontsize=8, ncols=2)
    return Drawing(
        "fire-rates",
        figure,
        "How many of the neurons fire at each place, on validation data. Every spike costs energy; below the dashed "
        f"line ({SPARSE_ALARM:.0%}) too little gets through to compute with. Lines near 1 are dense: training was "
        "not asked to save spikes there.",
    )


def levels_figure(sites: Sequence[SiteSummary]) -> Drawing:
    """Which levels are used at each role, mean over layers, silence left out."""
    found: dict[str, list[list[float]]] = {}
    for site in sites:
        found.setdefault(role(site), []).append(site.level_histogram)
    names = list(found)
    shares = np.array([np.mean(np.array(found[name]), axis=0)[1:] for name in names])
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    with panel((SIZES["panel"][0], 1.2 + 0.3 * len(names))) as (figure, axes):
        shaded_cells(axes, np.where(shares >= 0.01, shares, np.nan), 0.5)
        axes.set(xlim=(-0.5, shares.shape[1] - 0.5), xlabel="level of a spike (the largest fires first)")
        axes.set_xticks(range(0, shares.shape[1], 2), [str(level + 1) for level in range(0, shares.shape[1], 2)])
        _rows(axes, names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=False)
    return Drawing(
        "levels-used",
        figure,
        "Which levels the spikes have, mean over layers; full colour at half of all, white below 1 %. A row "
        "that ends at the highest level with a strong square saturates: its scale is too small. A row that lives at "
        "level 1 alone uses one bit of the code.",
    )


def arms_figure(arms: Sequence[ArmResult]) -> Drawing:
    """Scores of the arms of an ablation, clean and under the measured device."""
    ordered = sorted(arms, key=lambda arm: (arm.arm, arm.seed))
    several = len({arm.seed for arm in arms}) > 1
    names = [f"{arm.arm}, seed {arm.seed}" if several else arm.arm for arm in ordered]
    with panel((SIZES["panel"][0], 1.3 + 0.42 * len(names))) as (figure, axes):
        for place, arm in enumerate(ordered):
            axes.plot([arm.clean], [place - 0.15], "D", ms=4.5, color=PALETTE[6], label=None if place else "quantised")
            axes.plot([arm.under.mean], [place + 0.1], "o", ms=5, color=PALETTE[1],
                      label=None if place else "under the measured device")  # fmt: skip
            if arm.under.interval is not None:
                axes.plot(arm.under.interval, [place + 0.1] * 2, lw=1.5, color=PALETTE[1])
        _rows(axes, names)
        axes.set(xlabel=arms[0].metric)
        figure.legend(loc="outside lower center", ncols=2)
    return Drawing(
        "ablation",
        figure,
        "What each way to go on from the same trunk gives, with equal steps and devices; bars: 95 % of the mean over "
        "runs. An arm is worth its trouble where its orange dot lies right of the others' by more than the bars.",
    )


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [fill(name, 28) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
