"""Drivers that nobody here wrote, unmodified, on our twins: every property is right, or it is known why not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def load_script() -> ModuleType:
    """tests/benchmarks/upstream_drivers.py: the tests are no package."""
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "upstream_drivers.py"
    spec = importlib.util.spec_from_file_location("upstream_drivers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


script: Any = load_script()
NAMES = [driver.name for driver in script.drivers()]
FAULTS_OF = {
    name: {
        fault: {key[1:] for key, (whose, _) in script.FAULTS.items() if (key[0], whose) == (name, fault)}
        for fault in ("upstream", "ours")
    }
    for name in NAMES
}


@pytest.mark.parametrize("route", script.ROUTES)
@pytest.mark.parametrize("name", [*NAMES, *([] if script.HAS_QCODES else ["QCoDeS"])])
def test_every_property_reads_back_what_was_set_or_it_is_known_whose_fault_it_is(name: str, route: str) -> None:
    if name == "QCoDeS":
        pytest.skip("QCoDeS is not installed: make test-drivers")
    if not script.route_exists(route):
        pytest.skip(f"there is no {route} route to the twins in this version")
    driver = next(driver for driver in script.drivers() if driver.name == name)
    rows = script.try_driver(driver, route)
    assert len(rows) == len(driver.tries)
    assert [row for row in rows if row.fault == "unknown"] == []
    for fault, known in FAULTS_OF[name].items():
        wrong = {(row.property, row.asked) for row in rows if row.fault == fault}
        # Upstream's mistakes are to be there still; what the twin lacks it may have learnt.
        assert wrong == known if fault == "upstream" else wrong <= known
    assert sum(row.right for row in rows) >= 0.6 * len(rows)
