"""The published energy tables, a law for each, and what the law predicts of entries it was not fitted to.

Both laws price a *synaptic operation*: events an operation, times (bits of the stationary operand, times the read of a
bit, plus what an event costs otherwise). Events of the baselines come from their own publications and are never
fitted. All of it is counted for sequence length 512: three 768 x 3072 projections and two 512 x 512 x 768 products.

What leaving an entry out does not test: the form of the laws (bits of the operands, bits one after the other in the
1-bit BERT, one event an attention operation, a second weight read for a digital decay, how devices are read) was chosen
with the tables in sight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from otters_lab.core.errors import InputError, closest
from otters_lab.energy.constants import ADD, conversion, find_preset
from otters_lab.energy.networks import SORBET, SPIKE_LM, Network

FC_OPERATIONS = 512 * 768 * 3072
QKV_OPERATIONS = 512 * 512 * 768
BLOCK_OPERATIONS = 3 * FC_OPERATIONS + 2 * QKV_OPERATIONS

Kind = Literal["independent", "derived", "open"]
Key = tuple[str, str]
Law = Callable[[Mapping[str, float]], dict[Key, float]]


@dataclass(frozen=True)
class Entry:
    """One published number, in J (`unit` "J") or as a share or ratio (`unit` "1").

    rounding : half of the last published digit, in `unit`.
    kind : "independent"; "derived", it follows from others of the same table and is never fitted; "open", it needs a
        spike rate that its publication does not give.
    """

    model: str
    quantity: str
    value: float
    rounding: float
    unit: Literal["J", "1"] = "J"
    kind: Kind = "independent"

    @property
    def key(self) -> Key:
        """(model, quantity): what the laws call it."""
        return self.model, self.quantity


@dataclass(frozen=True)
class Given:
    """A number that no fit touches, with the range it may have and where it is from."""

    value: float
    low: float
    high: float
    unit: str
    source: str


@dataclass(frozen=True)
class Reading:
    """How Otters reads its devices: what the tables leave open.

    weight_bits : bits read from memory for an operation of a projection; 0 where the device's output is the product.
    conversions : ADC conversions an event in a projection; 0 where one conversion serves all synapses of a spike.
    accumulates : accumulates or compares that go with a conversion.
    attention_events : events an operation of a query or probability; None fits it.
    """

    name: str
    weight_bits: int
    conversions: int
    accumulates: int
    attention_events: float | None


READINGS = tuple(
    Reading(*row)
    for row in (
        ("fused product, converted once a synapse", 0, 1, 0, 1.0),
        ("weight read, converted once a synapse", 1, 1, 0, 1.0),
        ("weight read, converted once a synapse, two accumulates", 1, 1, 2, None),
        ("weight read, converted once a spike", 1, 0, 0, 1.0),
        ("fused product, converted once a spike", 0, 0, 0, 1.0),
    )
)

_PJ, _MJ = 1e-12, 1e-3
_ASSUMED = "assumed, not published: "


def _rate(network: Network) -> Given:
    assert network.rate is not None
    return Given(*network.rate.events(network.steps), "events/operation", network.rate.source)


def _constant(name: str) -> Given:
    """A constant of open22; the fits take its own range."""
    found = find_preset("open22")[name]
    assert found.value is not None and found.low is not None and found.high is not None  # noqa: PT018
    return Given(found.value, found.low, found.high, "J", found.source)


GIVEN: Mapping[str, Given] = {
    "Sorbet": _rate(SORBET),
    "SpikingLM": _rate(SPIKE_LM),
    "1-bit BERT": Given(
        2.0, 1.0, 4.0, "events/operation", _ASSUMED + "4 bits one after the other, half of them set"
    ),
    "fp32 multiply-accumulate": Given(
        4.6 * _PJ, 4.6 * 22 / 45 * _PJ, 4.6 * _PJ, "J", "Horowitz, ISSCC 2014, 45 nm; low: scaled linearly to 22 nm"
    ),
    "ADC conversion": _constant(conversion(4)),
    "accumulate": _constant(ADD),
}  # fmt: skip


def _first_paper() -> tuple[Entry, ...]:
    table = {"BERT": (50.35, 8.41, 167.92), "Sorbet": (3.39, 1.08, 12.34), "SpikingLM": (2.09, 0.46, 7.20),
             "Otters, 1-bit KV": (1.14, 0.33, 4.06)}  # fmt: skip
    parts = [
        Entry(model, quantity, value * _MJ, 0.005 * _MJ)
        for model, row in table.items()
        for quantity, value in zip(("FC", "QKV"), row, strict=False)
    ]
    only_total = [
        Entry(m, "total", v * _MJ, 0.005 * _MJ) for m, v in (("1-bit BERT", 11.04), ("Otters, 4-bit KV", 4.49))
    ]
    totals = [Entry(m, "total", row[2] * _MJ, 0.005 * _MJ, kind="derived") for m, row in table.items()]
    return (*parts, *only_total, *totals)


def _second_paper() -> tuple[Entry, ...]:
    layer = {"Otters++": 14.2, "SpikingLM": 26.1, "1-bit BERT": 40.8, "Sorbet": 42.9, "SpikingBERT": 80.6}
    ratios = {"SpikingLM": 1.84, "1-bit BERT": 2.87, "Sorbet": 3.02, "SpikingBERT": 5.68, "digital TTFS": 1.343}
    shares = (("Otters++", "movement share", 0.58), ("Otters++", "analog read share", 0.12),
              ("other SNNs", "movement share", 0.54), ("other SNNs", "weight read share", 0.31))  # fmt: skip

    def kind(model: str, otherwise: Kind) -> Kind:
        return "open" if model == "SpikingBERT" else otherwise

    return (
        *(Entry(m, "layer", v * _MJ, 0.05 * _MJ, kind=kind(m, "independent")) for m, v in layer.items()),
        Entry("digital TTFS", "layer", 19.09 * _MJ, 0.005 * _MJ),
        *(Entry(m, q, v, 0.005, "1") for m, q, v in shares),
        *(
            Entry(m, "ratio", v, 0.0005 if m == "digital TTFS" else 0.005, "1", kind(m, "derived"))
            for m, v in ratios.items()
        ),
    )


@dataclass(frozen=True)
class Preset:
    """A published table, its law and the constants that are fitted: name and unit."""

    name: str
    source: str
    entries: tuple[Entry, ...]
    law: Law
    constants: Mapping[str, str]

    @property
    def independent(self) -> tuple[Entry, ...]:
        """The entries a fit may use."""
        return tuple(entry for entry in self.entries if entry.kind == "independent")


@dataclass(frozen=True)
class Fit:
    """Fitted constants in SI units with standard errors; `spread` is the residuals' standard deviation (relative)."""

    values: Mapping[str, float]
    standard_errors: Mapping[str, float]
    spread: float
    used: tuple[Key, ...]


@dataclass(frozen=True)
class Row:
    """One published number beside ours, in the entry's unit; residuals are ours/published - 1.

    fitted : by the law fitted to all independent entries. None for an open entry.
    predicted : by the law fitted without this entry (a derived entry: without any entry of its model).
    None where the rest of the table does not determine the law.
    """

    entry: Entry
    fitted: float | None
    predicted: float | None

    @property
    def fitted_residual(self) -> float | None:
        """Relative; None where there is no value."""
        return None if self.fitted is None else self.fitted / self.entry.value - 1

    @property
    def predicted_residual(self) -> float | None:
        """Relative; None where there is no value."""
        return None if self.predicted is None else self.predicted / self.entry.value - 1


def iclr26(reading: Reading = READINGS[0], given: Mapping[str, Given] = GIVEN) -> Preset:
    """First paper, one attention block: events * (bits * weight read + c), c for movement and accumulate.

    Bits: 1 in projections; in attention products those of a key or value: 4 for Sorbet and the 1-bit BERT, 2 for
    ternary SpikingLM, 1 or 4 for Otters. BERT: 32 events of one bit and a multiply-accumulate.
    Fitted: the read, c, and Otters' events in projections (and in attention where the reading leaves them open).
    """
    at = {name: number.value for name, number in given.items()}
    converted = at["ADC conversion"] + reading.accumulates * at["accumulate"]

    def law(constants: Mapping[str, float]) -> dict[Key, float]:
        read, event = constants["weight_read_J_per_bit"], constants["event_J"]
        projection_events = constants["otters_projection_events_per_operation"]
        attention_events = reading.attention_events or constants["otters_attention_events_per_operation"]

        def pair(events: float, bits: int, each: float = 0.0) -> tuple[float, float]:
            return events * (read + event) + each, events * (bits * read + event) + each

        def otters(bits: int) -> tuple[float, float]:
            return (
                projection_events * (reading.weight_bits * read + event + reading.conversions * converted),
                attention_events * (bits * read + event + converted),
            )

        each = {
            "BERT": pair(32, 1, at["fp32 multiply-accumulate"]),
            "Sorbet": pair(at["Sorbet"], 4),
            "SpikingLM": pair(at["SpikingLM"], 2),
            "1-bit BERT": pair(at["1-bit BERT"], 4),
            "Otters, 1-bit KV": otters(1),
            "Otters, 4-bit KV": otters(4),
        }
        energies: dict[Key, float] = {}
        for model, (projection, attention) in each.items():
            energies[model, "FC"] = FC_OPERATIONS * projection
            energies[model, "QKV"] = QKV_OPERATIONS * attention
            energies[model, "total"] = 3 * energies[model, "FC"] + 2 * energies[model, "QKV"]
        return energies

    constants = {
        "weight_read_J_per_bit": "J/bit",
        "event_J": "J/event",
        "otters_projection_events_per_operation": "1",
    }
    if reading.attention_events is None:
        constants["otters_attention_events_per_operation"] = "1"
    return Preset("iclr26", "arXiv 2509.18968", _first_paper(), law, constants)


def ottersplusplus(reading: Reading = READINGS[0], given: Mapping[str, Given] = GIVEN) -> Preset:
    """Second paper, one layer: events * (bits * weight read + movement + other), and Otters++'s conversions.

    Same operations, bits and events as the first paper's. Digital TTFS: as many events as Otters++, no conversion, its
    weight read, and a second read for the decay. Shares of the other SNNs: mean of Sorbet and SpikingLM.
    Fitted: the read, movement and the rest of an event, and Otters++'s mean events an operation.
    """
    at = {name: number.value for name, number in given.items()}
    converted = at["ADC conversion"] + reading.accumulates * at["accumulate"]

    def mean(projection: float, attention: float) -> float:
        return (3 * FC_OPERATIONS * projection + 2 * QKV_OPERATIONS * attention) / BLOCK_OPERATIONS

    bits = {"Sorbet": mean(1, 4), "1-bit BERT": mean(1, 4), "SpikingLM": mean(1, 2)}
    conversion = converted * mean(reading.conversions, 1)

    def law(constants: Mapping[str, float]) -> dict[Key, float]:
        read, movement = constants["weight_read_J_per_bit"], constants["movement_J_per_event"]
        other, events = constants["other_J_per_event"], constants["otters_events_per_operation"]
        an_event = {model: b * read + movement + other for model, b in bits.items()}
        fused = mean(reading.weight_bits, 1) * read + movement + other + conversion
        an_operation = {
            **{model: at[model] * each for model, each in an_event.items()},
            "Otters++": events * fused,
            "digital TTFS": events * (2 * read + movement + other),
        }
        ours = {(model, "layer"): BLOCK_OPERATIONS * each for model, each in an_operation.items()}
        spiking = ("Sorbet", "SpikingLM")
        return {
            **ours,
            **{(model, "ratio"): each / ours["Otters++", "layer"] for (model, _), each in ours.items()},
            ("Otters++", "movement share"): movement / fused,
            ("Otters++", "analog read share"): conversion / fused,
            ("other SNNs", "movement share"): sum(movement / an_event[m] for m in spiking) / len(spiking),
            ("other SNNs", "weight read share"): sum(bits[m] * read / an_event[m] for m in spiking) / len(spiking),
        }

    constants = {
        "weight_read_J_per_bit": "J/bit",
        "movement_J_per_event": "J/event",
        "other_J_per_event": "J/event",
        "otters_events_per_operation": "1",
    }
    return Preset("ottersplusplus", "arXiv 2606.13016", _second_paper(), law, constants)


PRESETS: Mapping[str, Callable[[], Preset]] = {"iclr26": iclr26, "ottersplusplus": ottersplusplus}


def published_preset(name: str) -> Preset:
    """A preset by name.

    Raises
    ------
    InputError
        for a name that is none.
    """
    if name not in PRESETS:
        raise InputError(
            "no such published table", found=name, expected=f"one of {', '.join(PRESETS)}",
            suggestion=closest(name, PRESETS),
        )  # fmt: skip
    return PRESETS[name]()


def fit(preset: Preset, without: Sequence[Key] = ()) -> Fit:
    """Least squares on logarithms of ours/published over the independent entries, but for `without`.

    Every entry weighs the same, in relative terms: nothing published says how well each is known.

    Raises
    ------
    InputError
        if the entries left do not determine every constant.
    """
    entries = [entry for entry in preset.independent if entry.key not in without]
    names = list(preset.constants)
    if len(entries) < len(names):
        raise InputError("too few entries for the law", found=len(entries), expected=f"at least {len(names)}")
    published = np.log([entry.value for entry in entries])
    start = np.log([1.0 if preset.constants[name] == "1" else _PJ for name in names])

    def residuals(logarithms: NDArray[np.float64]) -> NDArray[np.float64]:
        ours = preset.law(dict(zip(names, np.exp(logarithms).tolist(), strict=True)))
        return np.asarray(np.log([ours[entry.key] for entry in entries]) - published)

    solved = least_squares(residuals, start, jac="3-point", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    # A direction that the residuals do not feel leaves a singular value near zero: its constant would be invented.
    singular = np.linalg.svd(solved.jac, compute_uv=False)
    if singular[-1] < 1e-6 * singular[0]:
        raise InputError("the entries left do not determine the law", found=[e.key for e in entries])
    freedom = len(entries) - len(names)
    variance = 2 * solved.cost / freedom if freedom else math.nan
    errors = np.sqrt(np.diag(np.linalg.inv(solved.jac.T @ solved.jac)) * variance)
    values = np.exp(solved.x)
    return Fit(
        dict(zip(names, values.tolist(), strict=True)),
        dict(zip(names, (values * errors).tolist(), strict=True)),
        math.sqrt(variance),
        tuple(entry.key for entry in entries),
    )


def leave_out(preset: Preset, entry: Entry) -> float | None:
    """What the law says of an entry (in its unit) when fitted without it; a derived one, without its whole model.

    None where the rest does not determine the law, or the law has no value for the entry.
    """
    without = [e.key for e in preset.entries if e == entry or (entry.kind == "derived" and e.model == entry.model)]
    try:
        return preset.law(fit(preset, without).values).get(entry.key)
    except InputError:
        return None


def compare(preset: Preset) -> list[Row]:
    """Every published number of a table beside the fitted law's and the prediction without it."""
    ours = preset.law(fit(preset).values)
    return [Row(entry, ours.get(entry.key), leave_out(preset, entry)) for entry in preset.entries]


def factors_between_papers() -> dict[str, float]:
    """Second paper's layer over the first paper's block, a model: one factor if both count the same operations."""
    blocks = {entry.model: entry.value for entry in _first_paper() if entry.quantity == "total"}
    layers = {entry.model: entry.value for entry in _second_paper() if entry.quantity == "layer"}
    layers["Otters, 1-bit KV"] = layers["Otters++"]
    return {model: layers[model] / block for model, block in blocks.items() if model in layers}


def implied_events_per_operation(preset: Preset, model: str, stationary_bits: float) -> float:
    """Events an operation that a model's published layer energy implies under the fitted law of `ottersplusplus`."""
    constants = fit(preset).values
    an_event = (
        stationary_bits * constants["weight_read_J_per_bit"]
        + constants["movement_J_per_event"]
        + constants["other_J_per_event"]
    )
    layer = next(entry.value for entry in preset.entries if entry.key == (model, "layer"))
    return layer / BLOCK_OPERATIONS / an_event


def sensitivity(make: Callable[..., Preset]) -> dict[str, dict[str, Fit]]:
    """Fits with each given number at its low and at its high end, the others as they are."""
    return {
        name: {
            end: fit(make(given={**GIVEN, name: replace(number, value=getattr(number, end))}))
            for end in ("low", "high")
        }
        for name, number in GIVEN.items()
    }
