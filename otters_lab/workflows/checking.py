"""Which kind of file of ours is this, and is it sound? Reads only; runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from otters_lab.core.errors import InputError
from otters_lab.core.files import read_json
from otters_lab.core.provenance import SIDECAR, check_sidecar, stated_kind
from otters_lab.core.tomlfile import StrictModel, TomlText, read_toml
from otters_lab.training.packed_file import is_packed, is_sealed
from otters_lab.workflows.artefacts import checked_header


def check_file(path: Path, bench: Path | None) -> dict[str, Any]:
    """Validates one file; returns its `kind`, a `summary`, and for recipes the plan's size.

    Raises
    ------
    InputError
        for what a person wrote wrong, or a file of no kind of ours.
    DamagedFileError
        for a capture, calibration or checkpoint that is damaged or altered.
    """
    if path.is_dir():
        return _check_checkpoint(path)
    if path.suffix == ".toml":
        return _check_toml(path, bench)
    if path.name.endswith(SIDECAR):
        return _check_sidecar(path)
    if path.suffix == ".json":
        return _check_json(path)
    if path.suffix in (".h5", ".spool"):
        return _check_capture(path)
    if is_packed(path):
        header = checked_header(path)
        assert header is not None
        seal = "its seal matches" if is_sealed(path) else "without a seal"
        return {"kind": "packed student", "summary": f"task {header.config['task']}, {seal}"}
    if not path.exists():
        raise InputError("no such file", file=path)
    raise InputError(
        "cannot tell what this is",
        file=path,
        expected=".toml, .json, .h5, .spool, a checkpoint folder or a packed student",
    )


def _check_toml(path: Path, bench: Path | None) -> dict[str, Any]:
    """A TOML file is of the kind whose top-level keys it shares most."""
    from otters_lab.instruments.benchfile import BenchFile, load_bench
    from otters_lab.measurements.mapping import MappingFile, load_mapping
    from otters_lab.sweeps.recipe import RecipeModel
    from otters_lab.training.config import TrainingConfig, read_config
    from otters_lab.training.taskfile import TaskFile

    source = read_toml(path)
    models: dict[str, type[StrictModel]] = {
        "training configuration": TrainingConfig,  # before the bench: one that has [notify] alone is this
        "bench": BenchFile,
        "recipe": RecipeModel,
        "import mapping": MappingFile,
        "task": TaskFile,
    }
    shared = {kind: len(set(model.model_fields) & set(source.data)) for kind, model in models.items()}
    kind = max(shared, key=lambda name: shared[name])
    if shared[kind] == 0:
        raise InputError(
            "has no key of a bench, a recipe, a training configuration, an import mapping or a task", file=path
        )
    if kind == "bench":
        found = load_bench(path)
        return {"kind": kind, "summary": f"{found.name}, backend {found.backend}, {len(found.devices)} devices"}
    if kind == "recipe":
        return _check_recipe(source, bench)
    if kind == "import mapping":
        options, _ = load_mapping(path)
        return {"kind": kind, "summary": f"time in {options.time!r}, current in {options.current!r}"}
    if kind == "task":
        from otters_lab.training.tasks import find_task

        task = find_task(str(path))
        outputs = "a score" if task.labels == 1 else f"{task.labels} classes"
        return {"kind": kind, "summary": f"{task.name}: {outputs}, by {', '.join(task.metrics)}"}
    config = read_config(path)
    return {"kind": kind, "summary": f"{len(config.stages)} stages"}


def _check_recipe(source: TomlText, bench: Path | None) -> dict[str, Any]:
    from otters_lab.sweeps.plan import Plan
    from otters_lab.sweeps.recipe import recipe_from

    plan = Plan(recipe_from(source))
    summary = f"{len(plan)} traces"
    if bench is not None:
        from otters_lab.instruments.benchfile import load_bench
        from otters_lab.workflows.sweeping import check_sweep

        check_sweep(plan, load_bench(bench))
        summary += f", within the limits of {bench}"
    return {"kind": "recipe", "summary": summary, "traces": len(plan), "duration_s": plan.duration_s}


def _check_sidecar(path: Path) -> dict[str, Any]:
    target = path.with_name(path.name.removesuffix(SIDECAR))
    if not target.exists():
        raise InputError(f"the file it belongs to is not there: {target.name}", file=path)
    check_sidecar(target)
    return {"kind": "provenance", "summary": f"the hash of {target.name} matches"}


def _check_json(path: Path) -> dict[str, Any]:
    from otters_lab.calibration.file import read_calibration
    from otters_lab.instruments.lightcal import read_light_calibration

    record = read_json(path)
    kind = stated_kind(record)
    if kind == "evaluation":
        header = checked_header(path)
        assert header is not None  # it states a kind
        return {"kind": "evaluation", "summary": f"of checkpoint {header.config['checkpoint']}"}
    if kind == "light calibration":
        light = read_light_calibration(path)
        low, high = light.drive[0], light.drive[-1]
        summary = (
            f"{light.wavelength_m * 1e9:g} nm, drive {low:g} to {high:g} {light.drive_unit}, {light.repeats} repeats"
        )
        return {"kind": "light calibration", "summary": summary}
    calibration = read_calibration(path)
    failed = [gate.name for gate in calibration.gates if gate.verdict == "fail"]
    verdict = "all gates passed" if not failed else f"failed: {', '.join(failed)}"
    summary = f"chip {calibration.chip}, origin {calibration.header.origin}, {verdict}"
    return {"kind": "calibration", "summary": summary, "failed_gates": failed}


def _check_capture(path: Path) -> dict[str, Any]:
    from otters_lab.measurements.capture import load_capture, open_capture

    if path.suffix == ".spool":
        with open_capture(path) as spool:
            return {"kind": "spool", "summary": f"{spool.sizes['trace']} traces, not sealed yet"}
    capture = load_capture(path)
    return {"kind": "capture", "summary": f"{len(capture.table)} traces, origin {capture.origin}"}


def _check_checkpoint(path: Path) -> dict[str, Any]:
    from otters_lab.training.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(path)
    return {"kind": "checkpoint", "summary": f"task {checkpoint.task.name}, every hash matches"}
