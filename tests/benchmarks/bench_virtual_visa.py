"""VISA queries a second, and 10 000-sample buffer reads a second, of our twins and of pyvisa-sim, in one run.

    python tests/benchmarks/bench_virtual_visa.py [--output tests/benchmarks/results/virtual_visa.json]

The same loop through the same pyvisa on each route: *IDN? and a settings query; then `TRAC:DATA?` of 10 000 readings in
one reply. pyvisa-sim (extra `drivers`) is given the very replies as a dialogue of its own, so that it formats nothing
while our twin does. Repeats take turns, so that a busy machine disturbs all alike; the median is told, and the spread.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyvisa

from otters_lab.instruments.benchfile import load_bench
from otters_lab.instruments.virtual.assemble import build_virtual

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 10_000
READ = f'TRAC:DATA? 1, {SAMPLES}, "defbuffer1", REL, READ, SOURSTAT'
QUERIES = ("*IDN?", "SENS:CURR:NPLC?")
FILL = [
    ":FORM:ASC:PREC 10", ':SENS:FUNC "CURR:DC"', ":SENS:CURR:RANG 1e-6", ":SENS:CURR:NPLC 0.01", ":OUTP 1",
    f':TRAC:POIN {SAMPLES}, "defbuffer1"', ':TRIG:LOAD "Empty"', ":TRIG:BLOC:MEAS 1",
    f":TRIG:BLOC:BRAN:COUN 2, {SAMPLES}, 1", ":INIT",
]  # fmt: skip
TARGET = 2.0  # times pyvisa-sim, in queries
ENDS: Any = {"read_termination": "\n", "write_termination": "\n", "timeout": 20_000}


def filled(link: Any, wait: Callable[[float], None]) -> None:
    """Lets the twin behind a link take its 10 000 readings."""
    for message in FILL:
        link.write(message)
    wait(SAMPLES * 0.01 / 50 + 1.0)
    assert link.query(":SYST:ERR?").startswith("0,")


@contextmanager
def our_twin() -> Iterator[Any]:
    """The 2450's twin in this process."""
    bench = load_bench(ROOT / "instruments" / "virtual.toml")
    virtual = build_virtual(bench)
    manager = pyvisa.ResourceManager(virtual.library)  # type: ignore[arg-type]
    link = manager.open_resource(bench.meter.address, **ENDS)
    filled(link, virtual.world.clock.sleep)
    yield link
    link.close()


@contextmanager
def our_twin_over_tcp() -> Iterator[Any]:
    """The 2450's twin behind a socket on 127.0.0.1."""
    from otters_lab.instruments.virtual.server import serving  # type: ignore[import-not-found]

    with serving(load_bench(ROOT / "instruments" / "virtual.toml")) as served:
        link = pyvisa.ResourceManager("@py").open_resource(served.meter.address, **ENDS)
        filled(link, time.sleep)
        yield link
        link.close()


@contextmanager
def pyvisa_sim(replies: dict[str, str]) -> Iterator[Any]:
    """pyvisa-sim with those dialogues."""
    dialogues = "".join(f"      - q: {json.dumps(q)}\n        r: {json.dumps(r)}\n" for q, r in replies.items())
    text = (
        'spec: "1.1"\ndevices:\n  meter:\n    eom:\n      GPIB INSTR:\n        q: "\\n"\n        r: "\\n"\n'
        f"    error: ERROR\n    dialogues:\n{dialogues}"
        "resources:\n  GPIB0::18::INSTR:\n    device: meter\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "meter.yaml"
        path.write_text(text, encoding="utf-8")
        link = pyvisa.ResourceManager(f"{path}@sim").open_resource("GPIB0::18::INSTR", **ENDS)
        yield link
        link.close()


def queries_a_second(link: Any, count: int) -> float:
    """Of short queries, two kinds by turns."""
    begin = time.perf_counter()
    for number in range(count):
        link.query(QUERIES[number % 2])
    return count / (time.perf_counter() - begin)


def reads_a_second(link: Any, count: int) -> float:
    """Of 10 000 readings, each with time and status."""
    begin = time.perf_counter()
    for _ in range(count):
        reply = link.query(READ)
    rate = count / (time.perf_counter() - begin)
    assert reply.count(",") == 3 * SAMPLES - 1
    return rate


def measure(links: dict[str, Any], repeats: int, count: int, reads: int) -> dict[str, dict[str, Any]]:
    """Medians and ranges by route; the routes take turns."""
    rates: dict[str, dict[str, list[float]]] = {name: {"queries": [], "reads": []} for name in links}
    for _ in range(repeats):
        for name, link in links.items():
            rates[name]["queries"].append(queries_a_second(link, count))
            # A byte at a time, as pyvisa-sim hands them over, makes a long reply take seconds.
            rates[name]["reads"].append(reads_a_second(link, 1 if name == "pyvisa-sim" else reads))
    return {
        name: {
            f"{what} per second": {
                "median": round(statistics.median(values), 2),
                "range": [round(min(values), 2), round(max(values), 2)],
            }
            for what, values in kinds.items()
        }
        for name, kinds in rates.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--queries", type=int, default=4000)
    parser.add_argument("--reads", type=int, default=10)
    given = parser.parse_args()
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        links = {"twin in process": stack.enter_context(our_twin())}
        if importlib.util.find_spec("otters_lab.instruments.virtual.server"):
            links["twin over TCP"] = stack.enter_context(our_twin_over_tcp())
        else:
            absent["twin over TCP"] = "no server in this version"
        if importlib.util.find_spec("pyvisa_sim"):
            replies = {question: links["twin in process"].query(question) for question in (*QUERIES, READ)}
            links["pyvisa-sim"] = stack.enter_context(pyvisa_sim(replies))
        else:
            absent["pyvisa-sim"] = "not installed: make bench-instruments"
        found = measure(links, given.repeats, given.queries, given.reads)
    packages = ["pyvisa", "pyvisa-py", *(["pyvisa-sim"] if "pyvisa-sim" in found else [])]
    result: dict[str, Any] = {
        "command": "python tests/benchmarks/bench_virtual_visa.py " + " ".join(sys.argv[1:]),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "samples in a read": SAMPLES,
        "repeats": given.repeats,
        "rates": found,
        "not measured": absent,
    }
    if "pyvisa-sim" in found:
        for what in ("queries", "reads"):
            key = f"{what} per second"
            ratio = found["twin in process"][key]["median"] / found["pyvisa-sim"][key]["median"]
            result[f"{what}: twin over pyvisa-sim"] = round(ratio, 2)
        result["target: queries over pyvisa-sim"] = TARGET
        result["target met"] = result["queries: twin over pyvisa-sim"] >= TARGET
    print(json.dumps(result, indent=1))
    if given.output:
        given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if result.get("target met", True) else 1)


if __name__ == "__main__":
    main()
