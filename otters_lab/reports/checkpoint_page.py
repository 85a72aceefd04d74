"""A checkpoint as a page: how it learnt, what the device's noise costs it, what it fires, what that takes."""

from __future__ import annotations

import json

from otters_lab.core.errors import InputError
from otters_lab.core.quantity import format_quantity
from otters_lab.energy.report import break_even_sentence, energy_report
from otters_lab.reports.checkpoint_figures import (
    accuracy_figure,
    arms_figure,
    learning_figures,
    levels_figure,
    noise_sweep_figure,
    rates_figure,
    roles_of,
)
from otters_lab.reports.energy_figures import layers_figure, terms_figure, totals_figure
from otters_lab.reports.energy_page import main_break_evens, terms_table
from otters_lab.reports.figures import Drawing
from otters_lab.reports.html import Verdict, bullets, folded, paragraph, table
from otters_lab.reports.report import Part, Report, provenance_part
from otters_lab.training.about import About
from otters_lab.training.conditions import IDEAL, QUANTISED, TEACHER
from otters_lab.training.evaluate import EvaluationResult, NoisyScore
from otters_lab.ttfs.statistics import SPARSE_ALARM


def checkpoint_report(about: About, sha256: str | None) -> Report:
    """The page of a checkpoint's folder or a packed student; `sha256` of the file, None of a folder."""
    code = about.section.code
    words = f"{about.task.name}, {code.bits}-bit time code, {about.section.weight_bits}-bit weights"
    parts = [
        Part("Learning", _learning(about)),
        Part("Accuracy under noise", _accuracy(about)),
        Part("What fires", [rates_figure(about.sites), levels_figure(about.sites), _sites(about)]),
        Part("Energy", _energy(about)),
        Part("Ablation", _ablation(about)),
        provenance_part(about.header, sha256),
    ]
    name = about.path.name or about.path.resolve().name
    return Report(f"Network {name}", words, about.header.origin, _verdicts(about), parts)


def _verdicts(about: About) -> list[Verdict]:
    """What a reader should know before anything else."""
    found = []
    if about.evaluation is None:
        found.append(Verdict("open", "not evaluated under noise: run otters-lab evaluate"))
    else:
        found += _scored(about.evaluation[1])
    quiet = [site.name for site in about.sites if site.fire_rate < SPARSE_ALARM]
    rate = sum(site.mean_spikes for site in about.sites) / max(sum(site.neurons for site in about.sites), 1.0)
    alarm = f"; fewer than {SPARSE_ALARM:.0%} fire at {len(quiet)} of them" if quiet else ""
    found.append(Verdict("open" if quiet else "good", f"{rate:.2f} spikes a neuron, over all places{alarm}"))
    if about.calibration is not None:
        gates = json.loads(about.calibration).get("gates", [])
        failed = [gate["name"] for gate in gates if gate.get("verdict") == "fail"]
        passed = sum(gate.get("verdict") == "pass" for gate in gates)
        said = f"trained on a calibration of which {passed} of {len(gates)} gates passed"
        found.append(Verdict("bad" if failed else "good", said + (f"; FAILED: {', '.join(failed)}" if failed else "")))
    elif about.path.is_file():
        found.append(Verdict("open", "a packed student: its log, its teacher and its calibration are not in it"))
    else:
        found.append(Verdict("open", "it holds no calibration"))
    return found + [Verdict("open", note) for note in about.notes]


def _scored(result: EvaluationResult) -> list[Verdict]:
    metric = result.metric
    teacher = result.teacher.get(metric)
    same = result.ideal_equals_quantised
    known = "" if teacher is None else f" (teacher {teacher:.2%})"
    ideal = f"{metric} {result.ttfs_ideal[metric]:.2%} with an ideal device{known}"
    found = [
        Verdict("good" if same else "bad", ideal + (", bit for bit that of the quantised network" if same else
                ", NOT what the quantised network says: the two paths differ"))
    ]  # fmt: skip
    for name, score in result.under.items():
        share = result.share_of_teacher.get(name)
        if ":" in name or share is None or share.share is None:
            continue
        state = "good" if share.share >= 0.95 else "open"
        found.append(Verdict(state, f"{score.mean:.2%} under {name}: {share.share:.1%} of the teacher"))  # type: ignore[arg-type]
    return found


def _learning(about: About) -> list[str | Drawing]:
    drawings = learning_figures(about.log, about.task.metrics[0])
    scores = [(str(line["stage"]), str(line.get("step", "the last")), f"{line['validation']:.4f}")
              for line in about.log if line.get("validation") is not None]  # fmt: skip
    if not drawings and not scores:
        return [paragraph("There is no training log.")]
    listed = table(("stage", "step", f"validation {about.task.metrics[0]}"), scores)
    return [*drawings, folded(f"All {len(scores)} scores", listed)]


def _accuracy(about: About) -> list[str | Drawing]:
    if about.evaluation is None:
        return [
            paragraph("No evaluation lies beside it. otters-lab evaluate DIR scores it under its calibration's noise.")
        ]
    header, result = about.evaluation
    sweep = noise_sweep_figure(result)
    rows = [
        *(_clean_row(result, name, scores.get(result.metric)) for name, scores in (
            (TEACHER, result.teacher), (QUANTISED, result.quantised), (IDEAL, result.ttfs_ideal))),
        *(_noisy_row(result, name, score) for name, score in result.under.items()),
    ]  # fmt: skip
    columns = ("condition", result.metric, "95 % of the mean", "sd of runs", "worst", "runs", "share of the teacher",
               "95 %")  # fmt: skip
    inputs = ", ".join(f"{ref.role} {ref.name}" for ref in header.inputs)
    said = [f"Evaluated {header.created_utc[:16].replace('T', ' ')} UTC with seed {result.seed}; made from {inputs}."]
    if result.noise is not None:
        drawn = result.noise.model_dump()
        said.append("Noise: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in drawn.items()) + ".")
    said += [f"Covariance at {borne.share:.0%} of the ideal device, {name}: {borne} times the calibration's."
             for name, borne in result.tolerated.items()]  # fmt: skip
    return [accuracy_figure(result), *([sweep] if sweep else []), table(columns, rows), bullets(said)]


def _clean_row(result: EvaluationResult, name: str, value: float | None) -> tuple[str, ...]:
    return (name, "unknown" if value is None else f"{value:.4f}", "", "", "", "", *_share(result, name))


def _noisy_row(result: EvaluationResult, name: str, score: NoisyScore) -> tuple[str, ...]:
    ends = "" if score.interval is None else f"{score.interval[0]:.4f} to {score.interval[1]:.4f}"
    sd = "" if score.sd is None else f"{score.sd:.4f}"
    return (name, f"{score.mean:.4f}", ends, sd, f"{score.minimum:.4f}", str(len(score.runs)), *_share(result, name))


def _share(result: EvaluationResult, name: str) -> tuple[str, str]:
    found = result.share_of_teacher.get(name)
    if found is None or found.share is None:
        return "", ""
    ends = found.share_interval
    return f"{found.share:.1%}", "" if ends is None else f"{ends[0]:.1%} to {ends[1]:.1%}"


def _sites(about: About) -> str:
    """A row a site."""
    rows = [
        (site.name, site.kind, f"{site.neurons:.4g}", f"{site.mean_spikes:.4g}", f"{site.fire_rate:.3f}",
         f"{site.saturation:.4f}", "unknown" if site.kept_mass is None else f"{site.kept_mass:.3f}",
         f"{site.mean_synaptic_operations:.3g}", f"{site.dense_operations:.3g}")
        for _, sites in roles_of(about.sites) for site in sites
    ]  # fmt: skip
    columns = ("site", "kind", "neurons", "spikes an inference", "spikes a neuron", "at the highest level",
               "mass kept by the code", "synaptic operations", "of a dense network")  # fmt: skip
    return folded(f"All {len(rows)} sites", table(columns, rows))


def _energy(about: About) -> list[str | Drawing]:
    try:
        report = energy_report(about.sites)
    except InputError as error:  # sites of a network that the energy model does not know
        return [paragraph(f"It cannot be counted: {error}")]
    main = report.main
    lines = [break_even_sentence(one) for one in main_break_evens(report)]
    known = format_quantity(main.known_J, "J", 3)
    left = f", without {', '.join(main.unknown)}, which have no published value" if main.unknown else ""
    said = (
        f"{main.network.name}: {known} an inference{left}; preset {report.preset}, {report.settings.hops} hops a "
        "message. otters-lab energy DIR --html FILE has every network's terms, sweeps and constants."
    )
    return [totals_figure(report), terms_figure(report.networks), layers_figure(main), paragraph(said), bullets(lines),
            terms_table(main)]  # fmt: skip


def _ablation(about: About) -> list[str | Drawing]:
    if not about.arms:
        return [paragraph("No results of otters-lab ablate lie in the folder.")]
    rows = [
        (arm.arm, str(arm.seed), str(arm.steps), f"{arm.clean:.4f}", f"{arm.under.mean:.4f}",
         "" if arm.under.sd is None else f"{arm.under.sd:.4f}", f"{arm.under.minimum:.4f}",
         "" if arm.under_own is None else f"{arm.under_own.mean:.4f}")
        for arm in about.arms
    ]  # fmt: skip
    columns = ("arm", "seed", "steps", f"{about.arms[0].metric}, quantised", "under the measured device", "sd of runs",
               "worst", "under what it learnt with")  # fmt: skip
    return [arms_figure(about.arms), table(columns, rows)]
