import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otters_lab.core.quantity import UNITS, format_quantity, parse_quantity


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("10 ms", "time", 0.01),
        ("0.1 ms", "time", 1e-4),
        ("-2 V", "voltage", -2.0),
        ("0.5 mW/cm^2", "irradiance", 5.0),
        ("1e3 W/m^2", "irradiance", 1000.0),
        ("25 degC", "temperature", 298.15),
        ("1.5 h", "time", 5400.0),
        ("3 µA", "current", 3e-6),
        ("1.4 %/h", "rate", 0.014 / 3600),
        (".5 s", "time", 0.5),
        ("5. s", "time", 5.0),
    ],
)
def test_a_quantity_is_read_as_exactly_the_si_value_it_states(text, dimension, value):
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    ["1,5 V", "2*3 V", "nan V", "inf V", "9**9**9 V", "5V", "5  V", " 5 V", "5 V ", "5", "V", "", "5 s", "0x10 V",
     "1_000 V", "1e999 V", "٣ V", "5 volts", "5 mv", 5, 5.0, None, True],
)  # fmt: skip
def test_anything_but_number_space_unit_is_refused(text):
    with pytest.raises(ValueError, match="expected a quantity of voltage"):
        parse_quantity(text, "voltage")


def test_a_misspelt_unit_gets_a_suggestion():
    with pytest.raises(ValueError, match='did you mean "ms"'):
        parse_quantity("10 mss", "time")


def test_a_decimal_comma_is_named():
    with pytest.raises(ValueError, match="not a comma"):
        parse_quantity("1,5 V", "voltage")


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-1000, max_value=1000, places=6))
def test_prefixes_convert_without_rounding_twice(number):
    assert parse_quantity(f"{number:f} us", "time") == float(number.scaleb(-6))


@given(st.text(max_size=12))
def test_no_text_makes_the_parser_do_anything_but_read_or_refuse(text):
    try:
        value = parse_quantity(text, "time")
    except ValueError:
        return
    assert math.isfinite(value)
    assert text.partition(" ")[2] in UNITS


@given(st.floats(min_value=1e-14, max_value=1e9), st.sampled_from(["s", "A", "V", "Hz"]))
def test_what_is_shown_reads_back_to_the_digits_shown(value, unit):
    dimension = {"s": "time", "A": "current", "V": "voltage", "Hz": "frequency"}[unit]
    shown = format_quantity(value, unit, digits=6)
    if "e" not in shown:
        assert parse_quantity(shown, dimension) == pytest.approx(value, rel=1e-5)


def test_the_unknown_is_shown_as_unknown():
    assert format_quantity(None, "A") == "unknown"
    assert format_quantity(float("nan"), "A") == "unknown"


def test_a_difference_of_temperatures_is_never_in_degrees_celsius():
    from pydantic import TypeAdapter, ValidationError

    from otters_lab.core.quantity import KelvinDifference

    adapter = TypeAdapter(KelvinDifference)
    assert adapter.validate_python("100 mK") == pytest.approx(0.1)
    with pytest.raises(ValidationError, match="100 mK"):
        adapter.validate_python("0.1 degC")
