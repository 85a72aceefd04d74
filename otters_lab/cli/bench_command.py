"""The command `bench`: what stands there, and twins over TCP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otters_lab.cli.show import JsonOption, print_json, print_line, print_table

if TYPE_CHECKING:
    from otters_lab.core.protocols import DecaySource
    from otters_lab.instruments.benchfile import BenchFile
    from otters_lab.instruments.survey import Found


def bench(
    file: Annotated[
        Path | None, typer.Argument(metavar="[B]", help="Bench file (TOML). Without one: the addresses VISA finds.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve a virtual bench's twins on 127.0.0.1 until Ctrl-C, in real time.")
    ] = False,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="FILE", help="With --serve: a bench file that points at the twins."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="With --serve: the twins' own record (JSON lines).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Connect, identify, self-test; report limits and error queues; leave every output off.

    Without a bench file: list the addresses at which VISA finds instruments; nothing is sent to them.
    """
    from otters_lab.core.errors import EXIT_INSTRUMENT, InputError
    from otters_lab.instruments.benchfile import load_bench
    from otters_lab.instruments.survey import survey
    from otters_lab.workflows.decays import load_source

    if file is None:
        if serve or write is not None or record is not None:
            raise InputError("serve what?", expected="a bench file B with --serve, --write and --record")
        return _list(as_json)
    bench_file = load_bench(file)
    source = load_source(bench_file)
    if serve:
        return _serve(bench_file, source, write, record, as_json)
    if write is not None or record is not None:
        raise InputError("--write and --record need --serve")
    found = survey(bench_file, source)
    wrong = [problem for one in found for problem in one.problems]
    if as_json:
        print_json(_document(bench_file, found))
    else:
        _print(bench_file, found, wrong)
    if wrong:
        raise typer.Exit(EXIT_INSTRUMENT)
    return None


def _list(as_json: bool) -> None:
    """What VISA sees, to put into a bench file; nothing is sent to it."""
    from otters_lab.instruments.links import visible_addresses

    addresses = visible_addresses()
    if as_json:
        return print_json({"addresses": addresses})
    for address in addresses:
        print_line(address)
    if not addresses:
        print_line("VISA finds no instruments (without a vendor's VISA it needs: pip install 'otters-lab[visa]')")
    return None


def _document(bench_file: BenchFile, found: list[Found]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "bench": str(bench_file.path),
        "name": bench_file.name,
        "backend": bench_file.backend,
        "instruments": [asdict(one) for one in found],
        "limits": bench_file.limits.model_dump(),
        "off_order": bench_file.off_order,
        "ok": not any(one.problems for one in found),
    }


def _print(bench_file: BenchFile, found: list[Found], wrong: list[str]) -> None:
    from otters_lab.core.quantity import format_quantity

    print_line(f"{bench_file.path}: {bench_file.name} (backend {bench_file.backend})")
    columns = ("role", "driver", "validated", "address", "identity", "firmware", "self-test", "interlock", "errors",
               "output")  # fmt: skip
    rows = [
        (one.role, one.driver, one.validated, one.address, one.identity, one.firmware, one.self_test, one.interlock,
         None if one.errors is None else len(one.errors), one.output)
        for one in found
    ]  # fmt: skip
    print_table(columns, rows)
    limits = bench_file.limits
    units = {"bias": "V", "current": "A", "compliance": "A", "drive": "V", "pulse_width": "s"}
    shown = [f"{name} {format_quantity(getattr(limits, name), unit)}" for name, unit in units.items()]
    optional = {"optical_power": (limits.optical_power, "W"), "duty": (limits.duty, "1"), "gate": (limits.gate, "V")}
    shown += [f"{name} {format_quantity(value, unit)}" for name, (value, unit) in optional.items() if value is not None]
    if limits.temperature is not None:
        shown.append("temperature {:g} to {:g} K".format(*limits.temperature))
    print_line(f"limits: {', '.join(shown)}")
    print_line(f"switched off in this order: {', '.join(bench_file.off_order)}")
    for problem in wrong:
        print_line(f"wrong: {problem}")


def _serve(
    bench_file: BenchFile, decays: DecaySource | None, write: Path | None, record: Path | None, as_json: bool
) -> None:
    import threading
    from contextlib import ExitStack

    from otters_lab.core.errors import InputError
    from otters_lab.core.files import write_atomically
    from otters_lab.instruments.virtual.server import serving, tcp_text

    if bench_file.backend != "virtual":
        raise InputError("only a virtual bench can be served", file=bench_file.path, key="backend")
    with ExitStack() as stack:
        log = stack.enter_context(record.open("w", encoding="utf-8")) if record else None
        served = stack.enter_context(serving(bench_file, log, decays=decays))
        if write is not None:
            write_atomically(write, tcp_text(bench_file, served).encode())
        addresses = served.addresses
        if as_json:
            print_json({"addresses": addresses, "written": str(write) if write else None})
        else:
            for role, address in addresses.items():
                print_line(f"{role}: {address}")
            print_line("serving in real time; Ctrl-C ends it")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    app.command("bench")(bench)
