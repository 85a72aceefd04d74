"""What the monitor's page shows, in parts that are swapped as they change. All that files hold is escaped."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from html import escape

from otters_lab.core.quantity import format_quantity
from otters_lab.reports.html import table
from otters_lab.reports.monitor import figures
from otters_lab.reports.monitor.beats import Beat, moment, span
from otters_lab.reports.monitor.details import Detail
from otters_lab.reports.monitor.growth import PROBES, Growth, Point
from otters_lab.reports.monitor.runs import Look, Run
from otters_lab.reports.monitor.trainings import Training

HEADS = ("now", "runs", "run")  # parts of a look
BODIES = ("problem", "first", "second", "third", "table", "more")  # and those that take longer: of one run
MAX_POINTS = 60  # rows of the table of points
_SHOWN_PROBES = (PROBES // 2, PROBES - 1)
_COLOURS = {
    **dict.fromkeys(("running", "sealing", "finished"), "good"),
    **dict.fromkeys(("paused", "stale", "interrupted", "budget", "unfinished"), "warn"),
    **dict.fromkeys(("gone", "failed", "damaged", "unreadable"), "bad"),
}

Draw = Callable[[str, Hashable, Callable[[], str]], str]  # name, version, how it is drawn


def head_parts(look: Look, run: Run | None, title: str) -> dict[str, str]:
    """What a look tells at once: all runs, and how one of them is."""
    now = f'<span class="soft">{escape(title)}, {moment(look.utc)}</span>'
    return {"now": now, "runs": _runs(look), "run": "" if run is None else _run(run)}


def body_parts(detail: Detail, draw: Draw) -> dict[str, str]:
    """All that one run holds; `draw` may give an earlier figure of the name."""
    parts = dict.fromkeys(BODIES, "")
    parts["problem"] = f'<p class="bad">{escape(detail.problem)}</p>' if detail.problem else ""
    if detail.growth is not None:
        parts |= _sweep_parts(detail, detail.growth, draw)
    elif detail.training is not None:
        parts |= _training_parts(detail.run, detail.training, draw)
    return parts


def _runs(look: Look) -> str:
    if not look.runs:
        return '<p class="soft">No run here yet: no capture, no spool, no training. They are shown as they come.</p>'
    rows = "".join(_row(run) for run in look.runs)
    more = f'<p class="soft">and {look.left_out} older ones</p>' if look.left_out else ""
    head = '<th>run</th><th>state</th><th class="n">done</th><th class="n">left</th><th>what</th>'
    last = '<th class="n">last written (UTC)</th>'
    return f"<table><thead><tr>{head}{last}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _row(run: Run) -> str:
    left = "" if run.eta_s is None else span(run.eta_s)
    return (
        f'<tr><td><a href="runs/{run.id}/">{escape(run.name)}</a></td>'
        f'<td>{_badge(run.beat)}</td><td class="n">{_done(run)}</td><td class="n">{left}</td>'
        f'<td>{escape(run.what)}</td><td class="n">{run.changed:%Y-%m-%d %H:%M:%S}</td></tr>'
    )


def _badge(beat: Beat) -> str:
    return f'<b class="badge {_COLOURS.get(beat.word, "warn")}">{escape(beat.word)}</b>'


def _done(run: Run) -> str:
    if run.done is None:
        return ""
    return f"{run.done}" if run.planned is None else f"{run.done} of {run.planned}"


def _run(run: Run) -> str:
    bar = ""
    if run.done is not None and run.planned:
        unit = "steps of the stage" if run.kind == "training" else "traces"
        left = "" if run.eta_s is None else f", about {span(run.eta_s)} left"
        bar = (
            f'<p><progress value="{run.done}" max="{run.planned}"></progress> '
            f"{_done(run)} {unit} ({run.done / run.planned:.0%}){left}</p>"
        )
    safe = ""
    if run.kind == "sweep" and not run.beat.live and run.done:
        safe = (
            f"<p>{run.done} traces are safe in the spool: go on with <code>sweep ... --resume</code>, "
            f"or seal them with <code>otters-lab recover</code>.</p>"
        )
    said = f"<p>{_badge(run.beat)} {escape(run.beat.said)}</p>"
    return f"<h2>{escape(run.name)}</h2>{said}{bar}{safe}"


# --- sweeps and captures ------------------------------------------------------------------------------------------


def _sweep_parts(detail: Detail, growth: Growth, draw: Draw) -> dict[str, str]:
    id_, seen = detail.run.id, (growth.about.uid, growth.seen)
    parts = {"more": _about(growth) + _supervisor(detail)}
    if growth.last:
        newest = (growth.about.uid, growth.last[-1].number)
        drawn = draw(f"{id_} last", newest, lambda: figures.last_traces(growth))
        parts["first"] = _figure("Last traces", _last(growth), drawn)
    if growth.points:
        drawn = draw(f"{id_} decays", seen, lambda: figures.decays_by_point(growth))
        parts["second"] = _figure("Decay by point", "mean, and one standard deviation over devices and repeats", drawn)
        drawn = draw(f"{id_} plateaus", seen, lambda: figures.plateaus(growth))
        parts["third"] = _figure(
            "Plateau, trace by trace", f"the last {len(growth.plateaus)}; a colour a point, a cross: not ok", drawn
        )
        parts["table"] = _points(growth)
    return parts


def _figure(title: str, said: str, drawn: str) -> str:
    return f"<h3>{escape(title)}</h3>{drawn}{_soft(said)}"


def _soft(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'


def _last(growth: Growth) -> str:
    trace = growth.last[-1]
    key = trace.key
    kind = "" if key.kind == "decay" else f", {key.kind}"
    return (
        f"trace {trace.number + 1} of {growth.total}: device {key.device}, point {key.point}, repeat {key.repeat}"
        f"{kind}, {trace.status}"
    )


def _points(growth: Growth) -> str:
    units = growth.about.parameter_units
    varied = [name for name in units if len({point.parameters.get(name) for point in growth.points.values()}) > 1]
    times = [float(growth.probes_s[place]) for place in _SHOWN_PROBES] if len(growth.probes_s) else []
    columns = ["point", *varied, "ok", "not ok", "plateau", "sd", "dark", "sd"]
    for time_s in times:
        columns += [f"at {format_quantity(time_s, 's', 3)}", "sd"]
    shown = sorted(growth.points)[:MAX_POINTS]
    rows = [_point_row(number, growth.points[number], varied, units, bool(times)) for number in shown]
    left = growth.highest + 1 - len(shown)
    read = (
        f"{growth.total} traces" if growth.seen == growth.total else f"{growth.seen} of {growth.total} traces looked at"
    )
    notes = [f"{read}; standard deviations over devices and repeats, the meter's noise in those at one time"]
    notes += [f"{left} more points"] if left else []
    return f"<h3>Points</h3>{table(columns, rows)}{_soft('; '.join(notes))}"


def _point_row(number: int, point: Point, varied: list[str], units: Mapping[str, str], timed: bool) -> tuple[str, ...]:
    ok = point.statuses["ok"]
    settings = [format_quantity(point.parameters.get(name), units[name]) for name in varied]
    pairs = [point.plateau_A, point.baseline_A]
    if timed:
        mean, sd = point.decay_A
        pairs += [(float(mean[place]), float(sd[place])) for place in _SHOWN_PROBES]
    cells = [format_quantity(value, "A") for pair in pairs for value in pair]
    return (str(number), *settings, str(ok), str(point.statuses.total() - ok), *cells)


def _about(growth: Growth) -> str:
    about = growth.about
    facts = [
        ("chip", about.chip),
        ("origin", about.origin),
        ("note", about.note),
        ("devices", f"{len(growth.devices)}"),
        ("statuses", _counted(growth.statuses)),
        ("kinds", _counted(growth.kinds)),
        ("window", format_quantity(about.window_s, "s")),
        *((f"instrument: {role}", identity) for role, identity in about.instruments.items()),
    ]
    if growth.last:
        newest = growth.last[-1]
        facts.append(("range of the meter", format_quantity(newest.range_A, "A")))
        for name, value in newest.readings.items():
            facts.append((f"reading: {name}", format_quantity(value, about.reading_units.get(name, "1"))))
        facts.append(("last trace began, by the bench's clock", newest.start_utc[:19].replace("T", " ")))
    for seam in growth.seams[-5:]:
        facts.append(("stood still", f"before trace {seam['trace'] + 1}: {seam['why']} ({seam['utc']})"))
    return f"<h3>Bench and chip</h3>{_facts(facts)}"


def _supervisor(detail: Detail) -> str:
    if not detail.supervisor:
        return ""
    facts = []
    for name, note in detail.supervisor[-12:]:
        rest = ", ".join(f"{key} {value}" for key, value in note.items() if key not in ("utc", "event"))
        facts.append((f"{name}, {note.get('utc')}", ": ".join(filter(None, (str(note.get("event")), rest)))))
    return f"<h3>The supervisor, after the sweep</h3>{_facts(facts)}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _facts(facts: list[tuple[str, str]]) -> str:
    rows = "".join(
        f'<tr><td class="name">{escape(k)}</td><td class="long">{escape(v)}</td></tr>' for k, v in facts if v
    )
    return f"<table><tbody>{rows}</tbody></table>"


# --- trainings ----------------------------------------------------------------------------------------------------


def _training_parts(run: Run, training: Training, draw: Draw) -> dict[str, str]:
    notes = []
    if training.unreadable:
        notes.append(f"{training.unreadable} lines of the log cannot be read")
    if training.cut:
        notes.append("the log is long: its beginning is left out")
    said = f'<p class="bad">{escape("; ".join(notes))}</p>' if notes else ""
    if not training.stages:
        return {"table": said}
    version = tuple((stage.name, sum(len(x) for x, _ in stage.curves.values())) for stage in training.stages)
    names = training.names
    parts = {}
    drawn = draw(f"{run.id} losses", version, lambda: figures.losses(training))
    parts["first"] = _figure("Losses", "stage after stage; dotted: where one ends", drawn)
    if "validation" in names:
        drawn = draw(f"{run.id} scores", version, lambda: figures.scores(training))
        parts["second"] = _figure("Validation", "under the noise that the stage ends with", drawn)
    drawn = draw(f"{run.id} shares", version, lambda: figures.shares(training))
    parts["third"] = _figure("Schedule", "shares of the learning rate and of the noise; neurons that fire", drawn)
    rows = [
        (stage.name, f"{stage.taken}", "" if stage.planned is None else f"{stage.planned}",
         *(_number(stage.last(name)) for name in names))
        for stage in training.stages
    ]  # fmt: skip
    parts["table"] = f"<h3>Stages</h3>{table(('stage', 'steps', 'planned', *names), rows)}{said}"
    return parts


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
