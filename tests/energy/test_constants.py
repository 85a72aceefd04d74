from __future__ import annotations

import math
from typing import get_args

import pytest

from otters_lab.core.errors import InputError
from otters_lab.energy.constants import (
    FACTOR,
    LIGHT,
    PITCH,
    PRESETS,
    READ,
    Constant,
    conversion,
    find_preset,
    light_pulse_J,
    memory_read,
    sourced,
    unknown,
)
from otters_lab.energy.counter import count
from otters_lab.energy.networks import NETWORKS
from otters_lab.energy.settings import Settings
from otters_lab.energy.shapes import shape_sites


def test_open22_holds_the_published_values_in_SI_units():
    published_pJ = {
        "accumulate or compare": 0.05448, "dense movement": 0.25, "event movement": 3.0, "DRAM read": 1300 / 64,
        "ADC 4 bit": 0.457, "ADC 5 bit": 0.463, "ADC 6 bit": 0.527, "ADC 8 bit": 0.847,
        "SRAM read 32 KiB": 0.059, "SRAM read 256 KiB": 0.185, "SRAM read 1 MiB": 0.367, "SRAM write 1 MiB": 0.273,
        "int8 add": 0.018, "int16 add": 0.036, "int32 add": 0.071, "router": 0.036,
    }  # fmt: skip
    table = find_preset("open22")
    assert {name: table[name].value for name in published_pJ} == pytest.approx(
        {name: pJ * 1e-12 for name, pJ in published_pJ.items()}
    )
    assert table["mean hops"].value == 4.75
    assert 0.527e-12 < table["ADC 7 bit"].value < 0.847e-12


def test_horowitz45_holds_the_published_arithmetic():
    table = find_preset("horowitz45")
    found = {name: table[name].value for name in ("fp32 multiply-accumulate", "fp16 add", "int8 multiply")}
    assert found == pytest.approx({"fp32 multiply-accumulate": 4.6e-12, "fp16 add": 0.4e-12, "int8 multiply": 0.2e-12})


def test_arithmetic_is_scaled_to_22_nm_and_never_above_what_was_measured():
    fine, coarse = find_preset("open22"), find_preset("horowitz45")
    for name in ("fp32 multiply-accumulate", "fp32 add", "fp16 multiply-accumulate", "fp16 add", "int8 multiply"):
        assert fine[name].value / coarse[name].value == pytest.approx(22 / 45 * 0.64 / 0.81)
        assert fine[name].high == coarse[name].value


@pytest.mark.parametrize("preset", PRESETS)
def test_every_constant_that_a_count_can_name_is_in_the_preset(preset):
    table = find_preset(preset)
    rates = {network.rate.name for network in NETWORKS if network.rate}
    memories = get_args(Settings.model_fields["weights_in"].annotation)
    names = {memory_read(memory) for memory in memories} | {conversion(bits) for bits in range(4, 9)} | {PITCH}
    for relu in (False, True):
        sites = shape_sites(1, 64, 64, 4, 0.5, relu=relu)
        names |= {name for network in NETWORKS for one in count(sites, network, Settings()) for name in one.factors}
    assert names - rates <= set(table)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_value_has_a_source_and_a_range_by_the_stated_rule_and_the_device_has_none(preset):
    for constant in find_preset(preset).values():
        if constant.status == "unknown":
            assert (constant.value, constant.low, constant.high) == (None, None, None)
        else:
            assert constant.source
            assert constant.value / FACTOR <= constant.low <= constant.value <= constant.high <= constant.value * 2.6
    assert {find_preset(preset)[name].status for name in (LIGHT, READ, PITCH)} == {"unknown"}


def test_a_constant_whose_range_leaves_its_value_out_is_refused():
    with pytest.raises(ValueError, match="in order"):
        sourced("x", 1.0, "J", "bit", "-", "somebody", low=2.0)
    with pytest.raises(ValueError, match="in order"):
        Constant("x", math.inf, "J", "bit", "-", 1.0, math.inf, "somebody", "fitted")
    with pytest.raises(ValueError, match="together"):
        Constant("x", None, "J", "bit", "-", None, None, "nobody", "sourced")
    assert unknown("x", "J", "bit").status == "unknown"


def test_the_energy_of_a_light_pulse_is_irradiance_area_and_width_over_efficiency():
    assert light_pulse_J(5.0, 1e-9, 0.2, 0.25) == pytest.approx(4e-9)
    with pytest.raises(ValueError, match="efficiency"):
        light_pulse_J(5.0, 1e-9, 0.2, 0.0)


def test_a_preset_that_does_not_exist_is_refused_with_a_suggestion():
    with pytest.raises(InputError, match='did you mean "open22"'):
        find_preset("open2")
