import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otters_lab.core.errors import InputError
from otters_lab.energy.published import (
    BLOCK_OPERATIONS,
    FC_OPERATIONS,
    GIVEN,
    PRESETS,
    QKV_OPERATIONS,
    READINGS,
    compare,
    factors_between_papers,
    fit,
    iclr26,
    implied_events_per_operation,
    leave_out,
    ottersplusplus,
    published_preset,
    sensitivity,
)

both = pytest.mark.parametrize("make", [iclr26, ottersplusplus])


def published(preset):
    return {entry.key: entry for entry in preset.entries}


def with_values(preset, values):
    entries = tuple(dataclasses.replace(e, value=values.get(e.key, e.value)) for e in preset.entries)
    return dataclasses.replace(preset, entries=entries)


def test_totals_of_the_first_paper_are_three_projections_and_two_products():
    table = published(iclr26())
    for model in ("Sorbet", "SpikingLM", "Otters, 1-bit KV"):
        total = table[model, "total"]
        parts = 3 * table[model, "FC"].value + 2 * table[model, "QKV"].value
        assert abs(total.value - parts) <= 6 * total.rounding * (1 + 1e-9)
        assert total.kind == "derived"
    # BERT's own misses by 0.05 mJ, where rounding explains 0.03.
    off = table["BERT", "total"].value - 3 * table["BERT", "FC"].value - 2 * table["BERT", "QKV"].value
    assert off == pytest.approx(0.05e-3, abs=1e-9)


def test_ratios_of_the_second_paper_are_those_of_its_layers():
    table = published(ottersplusplus())
    ours = table["Otters++", "layer"]
    ratios = [entry for entry in table.values() if entry.quantity == "ratio"]
    assert len(ratios) == 5
    for ratio in ratios:
        layer = table[ratio.model, "layer"]
        low = (layer.value - layer.rounding) / (ours.value + ours.rounding) - ratio.rounding
        high = (layer.value + layer.rounding) / (ours.value - ours.rounding) + ratio.rounding
        assert low <= ratio.value <= high


def test_a_block_of_the_first_paper_is_a_whole_layer_of_bert_at_length_512():
    hidden, length = 768, 512
    linears = length * (4 * hidden * hidden + 2 * hidden * 4 * hidden)
    assert linears == 3 * FC_OPERATIONS
    assert linears + 2 * length * length * hidden == BLOCK_OPERATIONS == 3 * FC_OPERATIONS + 2 * QKV_OPERATIONS


def test_the_first_law_is_the_formula_worked_out_by_hand():
    energies = iclr26().law(
        {"weight_read_J_per_bit": 2.0, "event_J": 3.0, "otters_projection_events_per_operation": 0.5}
    )
    adc = GIVEN["ADC conversion"].value
    assert energies["Sorbet", "QKV"] == pytest.approx(QKV_OPERATIONS * 2.24 * 11)
    assert energies["1-bit BERT", "total"] == pytest.approx(3 * FC_OPERATIONS * 10 + 2 * QKV_OPERATIONS * 22)
    assert energies["BERT", "FC"] == pytest.approx(FC_OPERATIONS * 160)
    assert energies["Otters, 1-bit KV", "FC"] == pytest.approx(FC_OPERATIONS * 0.5 * (3 + adc))
    assert energies["Otters, 4-bit KV", "QKV"] == pytest.approx(QKV_OPERATIONS * (8 + 3 + adc))


def test_the_second_law_is_the_formula_worked_out_by_hand():
    read, movement, other, events = 1e-12, 2e-12, 0.5e-12, 0.8
    energies = ottersplusplus().law(
        {"weight_read_J_per_bit": read, "movement_J_per_event": movement, "other_J_per_event": other,
         "otters_events_per_operation": events}
    )  # fmt: skip
    attention = 2 * QKV_OPERATIONS
    adc = GIVEN["ADC conversion"].value
    terms = {
        "movement": BLOCK_OPERATIONS * events * movement,
        "other": BLOCK_OPERATIONS * events * other,
        "read": attention * events * read,
        "conversion": BLOCK_OPERATIONS * events * adc,
    }
    layer = energies["Otters++", "layer"]
    assert layer == pytest.approx(sum(terms.values()))
    assert energies["Otters++", "movement share"] == pytest.approx(terms["movement"] / layer)
    assert energies["Otters++", "analog read share"] == pytest.approx(terms["conversion"] / layer)
    assert energies["SpikingLM", "ratio"] == pytest.approx(energies["SpikingLM", "layer"] / layer)
    sorbet = GIVEN["Sorbet"].value * ((3 * FC_OPERATIONS + 4 * attention) * read + BLOCK_OPERATIONS * 2.5e-12)
    assert energies["Sorbet", "layer"] == pytest.approx(sorbet)


@both
@settings(max_examples=20, deadline=None)
@given(factors=st.lists(st.floats(0.3, 3.0), min_size=4, max_size=4))
def test_constants_come_back_from_a_table_that_the_law_made(make, factors):
    preset = make()
    truth = {name: v * f for (name, v), f in zip(fit(preset).values.items(), factors, strict=False)}
    recovered = fit(with_values(preset, preset.law(truth)))
    assert recovered.values == pytest.approx(truth, rel=1e-5)
    assert recovered.spread < 1e-6


@both
def test_standard_errors_cover_what_noisy_tables_give(make):
    preset = make()
    truth = fit(preset).values
    ideal = preset.law(truth)
    rng = np.random.default_rng(1)
    pulls = []
    for _ in range(60):
        noisy = {key: value * math.exp(0.03 * rng.standard_normal()) for key, value in ideal.items()}
        fitted = fit(with_values(preset, noisy))
        pulls += [(fitted.values[n] - truth[n]) / fitted.standard_errors[n] for n in truth]
    # Student's t with 5 to 7 degrees of freedom has a standard deviation of 1.2 to 1.3.
    assert 0.9 < np.std(pulls) < 1.6


@both
def test_a_prediction_does_not_see_the_entry_it_predicts(make):
    preset = make()
    for row in compare(preset):
        if row.entry.kind != "independent":
            continue
        changed = with_values(preset, {row.entry.key: 1.3 * row.entry.value})
        entry = published(changed)[row.entry.key]
        assert leave_out(changed, entry) == pytest.approx(row.predicted, rel=1e-9)
        assert fit(changed).values != pytest.approx(fit(preset).values, rel=1e-3)


def test_a_derived_entry_is_predicted_without_its_model():
    preset = iclr26()
    total = published(preset)["Sorbet", "total"]
    changed = with_values(preset, {("Sorbet", "FC"): 1.0, ("Sorbet", "QKV"): 1.0})
    assert leave_out(changed, total) == pytest.approx(leave_out(preset, total), rel=1e-9)


@both
def test_fewer_constants_than_independent_entries(make):
    preset = make()
    assert len(preset.constants) < len(preset.independent)
    used = fit(preset).used
    assert set(used) == {e.key for e in preset.independent}
    assert not {q for m, q in used if q == "ratio" or m == "SpikingBERT"}


def test_what_the_entries_do_not_determine_is_refused_rather_than_invented():
    preset = iclr26()
    otters = [e.key for e in preset.entries if e.model.startswith("Otters")]
    with pytest.raises(InputError, match="do not determine"):
        fit(preset, otters)
    with pytest.raises(InputError, match="too few"):
        fit(preset, [e.key for e in preset.entries[2:]])


def test_an_unpublished_spike_rate_leaves_its_entries_open():
    preset = ottersplusplus()
    rows = {row.entry.key: row for row in compare(preset)}
    for quantity in ("layer", "ratio"):
        row = rows["SpikingBERT", quantity]
        assert row.entry.kind == "open"
        assert row.fitted is row.predicted is row.fitted_residual is row.predicted_residual is None
    implied = implied_events_per_operation(preset, "SpikingBERT", 1.0)
    sorbet = implied_events_per_operation(preset, "Sorbet", 1.3)
    assert sorbet == pytest.approx(GIVEN["Sorbet"].value, rel=0.05)
    assert implied / sorbet == pytest.approx(80.6 / 42.9, rel=0.1)


def largest(rows, side, unit=None, points=False):
    residuals = [
        abs((getattr(r, side) - r.entry.value) if points else getattr(r, f"{side}_residual"))
        for r in rows
        if r.entry.kind != "open" and (unit is None or r.entry.unit == unit)
    ]
    return max(residuals)


def test_first_paper_is_met_and_predicted_within_the_bounds_reached():
    rows = compare(iclr26())
    assert largest(rows, "fitted") < 0.045
    assert largest(rows, "predicted") < 0.067


def test_second_paper_is_met_and_predicted_within_the_bounds_reached():
    rows = compare(ottersplusplus())
    assert largest(rows, "fitted", "J") < 0.044
    assert largest(rows, "predicted", "J") < 0.098
    ratios = [row for row in rows if row.entry.quantity == "ratio"]
    assert largest(ratios, "predicted") < 0.099
    shares = [row for row in rows if row.entry.quantity.endswith("share")]
    assert largest(shares, "fitted", points=True) < 0.038
    # Not within the five points aimed at: movement is where the law does not carry.
    assert 0.05 < largest(shares, "predicted", points=True) < 0.082
    read = [row for row in shares if row.entry.quantity == "analog read share"]
    assert largest(read, "predicted", points=True) < 0.005


def test_the_first_table_cannot_tell_how_devices_are_read_and_the_second_can():
    first = [fit(iclr26(reading)).spread for reading in READINGS]
    assert max(first) - min(first) < 0.002
    fused, *others = [fit(ottersplusplus(reading)).spread for reading in READINGS]
    assert fused < 0.06
    assert min(others) > 1.3 * fused


def test_one_factor_lies_between_the_papers():
    factors = factors_between_papers()
    assert set(factors) == {"Sorbet", "SpikingLM", "1-bit BERT", "Otters, 1-bit KV"}
    assert max(factors.values()) / min(factors.values()) < 1.07


def test_each_given_number_moves_alone():
    fits = sensitivity(iclr26)
    middle = fit(iclr26()).values["event_J"]
    assert fits["accumulate"]["low"].values["event_J"] == pytest.approx(middle)
    assert fits["1-bit BERT"]["low"].spread > 5 * fit(iclr26()).spread
    for number in GIVEN.values():
        assert number.low <= number.value <= number.high
        assert any(c.isdigit() for c in number.source)


def test_a_table_that_does_not_exist_is_refused_with_a_suggestion():
    assert {published_preset(name).name for name in PRESETS} == set(PRESETS)
    with pytest.raises(InputError, match='did you mean "iclr26"'):
        published_preset("iclr25")
