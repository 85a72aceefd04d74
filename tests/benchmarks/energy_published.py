"""The published energy tables beside ours: fitted, and predicted without the entry.

    python tests/benchmarks/energy_published.py --output tests/benchmarks/results/energy_published.json

Residuals are ours/published - 1; shares also in points. `readings` tells how well each way to read a device meets both
tables; `sensitivity` what the fitted constants become at either end of each given number.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from otters_lab.energy.published import (
    BLOCK_OPERATIONS,
    FC_OPERATIONS,
    GIVEN,
    QKV_OPERATIONS,
    READINGS,
    Fit,
    Preset,
    compare,
    factors_between_papers,
    fit,
    iclr26,
    implied_events_per_operation,
    ottersplusplus,
    sensitivity,
)

RESULTS = "tests/benchmarks/results/energy_published.json"


def rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")


def constants(fitted: Fit) -> dict[str, Any]:
    return {
        name: {"value": rounded(value), "standard_error": rounded(fitted.standard_errors[name], 2)}
        for name, value in fitted.values.items()
    }


def table(make: Callable[..., Preset]) -> dict[str, Any]:
    preset = make()
    fitted = fit(preset)
    return {
        "source": preset.source,
        "independent_entries": len(preset.independent),
        "fitted_constants": constants(fitted),
        "spread": rounded(fitted.spread),
        "rows": [
            {
                "model": row.entry.model,
                "quantity": row.entry.quantity,
                "kind": row.entry.kind,
                "unit": row.entry.unit,
                "published": row.entry.value,
                "rounding": rounded(row.entry.rounding / row.entry.value, 2),
                "fitted": rounded(row.fitted),
                "fitted_residual": rounded(row.fitted_residual, 3),
                "predicted": rounded(row.predicted),
                "predicted_residual": rounded(row.predicted_residual, 3),
            }
            for row in compare(preset)
        ],
        "sensitivity": {
            name: {end: {"spread": rounded(f.spread), **constants(f)} for end, f in ends.items()}
            for name, ends in sensitivity(make).items()
        },
    }


def show(name: str, result: dict[str, Any]) -> None:
    print(f"{name}: {len(result['fitted_constants'])} constants, {result['independent_entries']} independent entries")
    for row in result["rows"]:
        cells = "".join(
            f"{row[side]:10.4g} {100 * row[side + '_residual']:+6.1f} %" if row[side] is not None else f"{'-':>19}"
            for side in ("fitted", "predicted")
        )
        print(f"  {row['model']:18}{row['quantity']:19}{row['kind']:12}{row['published']:10.4g}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    tables = {make.__name__: table(make) for make in (iclr26, ottersplusplus)}
    projection = fit(iclr26()).values["otters_projection_events_per_operation"]
    record = {
        "command": f"python tests/benchmarks/energy_published.py --output {RESULTS}",
        "given": {name: asdict(number) for name, number in GIVEN.items()},
        **tables,
        "readings": {
            reading.name: {
                make.__name__: {"spread": rounded(f.spread), **constants(f)}
                for make, f in ((make, fit(make(reading))) for make in (iclr26, ottersplusplus))
            }
            for reading in READINGS
        },
        "otters_events_per_operation_by_the_first_table": rounded(
            (3 * FC_OPERATIONS * projection + 2 * QKV_OPERATIONS) / BLOCK_OPERATIONS
        ),
        "spikingbert_events_per_operation_implied": rounded(
            implied_events_per_operation(ottersplusplus(), "SpikingBERT", 1.0)
        ),
        "layer_over_block": {model: rounded(factor) for model, factor in factors_between_papers().items()},
    }
    for name, result in tables.items():
        show(name, result)
    if given.output:
        given.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
