"""The `otters-lab` program: every command parses, calls one function and prints."""

from __future__ import annotations

import re
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer

from otters_lab.cli import (
    bench_command,
    bench_commands,
    calibration_commands,
    capture_commands,
    energy_command,
    light_commands,
    listing_commands,
    model_commands,
    monitor_command,
    report_command,
    sweep_command,
)
from otters_lab.cli.help import explain
from otters_lab.core.errors import EXIT_INTERRUPTED, OttersError, closest
from otters_lab.version import __version__

app = typer.Typer(
    name="otters-lab",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From decaying optoelectronic synapses to time-to-first-spike networks: measure, fit, train, evaluate.",
    epilog=(
        "Exit codes: 0 done; 1 done, and the answer is no; 2 bad usage or input; 3 an instrument failed; "
        "4 a file is damaged; 130 interrupted."
    ),
)
bench_commands.register(app)
bench_command.register(app)
sweep_command.register(app)
listing_commands.register(app)
capture_commands.register(app)
light_commands.register(app)
calibration_commands.register(app)
model_commands.register(app)
energy_command.register(app)
report_command.register(app)
monitor_command.register(app)
explain(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"otters-lab {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show Python tracebacks and more log lines.")] = False,
) -> None:
    from otters_lab.core.log import configure_logging

    configure_logging(verbose=debug)


def run() -> NoReturn:
    """Entry point: runs a command and turns what it raises into one line and the right exit code."""
    debug = "--debug" in sys.argv
    # A terminated sweep must leave through the same door as an interrupted one: the bench is made safe on the way.
    _on_signals(signal.default_int_handler)
    try:
        try:
            # Without click's own error printing, a command's `typer.Exit(code)` comes back as the return value.
            code = int(app(standalone_mode=False, prog_name="otters-lab") or 0)
        finally:  # all is done: one signal more, on the way out of Python, must not change what the exit code says
            _on_signals(signal.SIG_IGN)
        if code == EXIT_INTERRUPTED:  # typer turns KeyboardInterrupt into it
            print("otters-lab: interrupted", file=sys.stderr)
    except OttersError as error:
        if debug:
            raise
        print(_red_if_unknown(f"otters-lab: {error}"), file=sys.stderr)
        code = error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("otters-lab: interrupted", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        code = 0
    except Exception as error:
        code = _unforeseen(error, debug)
    sys.exit(code)


def _on_signals(what: Any) -> None:
    """Handles the signals that end a process, but those that are ignored already: nohup keeps its word."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, what)


def _red_if_unknown(line: str) -> str:
    """Light or bias that may still be on is said in red, on a terminal."""
    return f"\033[1;31m{line}\033[0m" if "output state unknown" in line and sys.stderr.isatty() else line


def _unforeseen(error: Exception, debug: bool) -> int:
    """Usage errors of the command line, and what nobody foresaw: still one line."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        print(f"otters-lab: {_with_suggestion(error.format_message())}", file=sys.stderr)
        return int(error.exit_code)
    if debug:
        raise error
    kind = type(error).__name__
    print(f"otters-lab: internal error: {kind}: {error} (run again with --debug for the traceback)", file=sys.stderr)
    return 1


def _with_suggestion(message: str) -> str:
    """A usage error of click; where one of several words was asked for, with the nearest of them."""
    message = message.replace("Value error, ", "")
    found = re.search(r"'([^']*)' is not one of (.+)", message)
    near = closest(found[1], re.findall(r"'([^']*)'", found[2])) if found else None
    return f'{message} (did you mean "{near}"?)' if near else message


if __name__ == "__main__":
    run()
