"""Numbers shown with their uncertainty, rounded by the rule of the Particle Data Group."""

from __future__ import annotations

import math

# Review of Particle Physics, Introduction, "Rounding": the error's three leading digits decide.
_TWO_DIGITS, _ONE_DIGIT = 354, 949


def pdg(value: float, error: float | None, unit: str = "1") -> str:
    """``pdg(0.827, 0.119) == "0.83 +- 0.12"``; the unit follows, "1" is none. Without an error: six digits and why."""
    tail = "" if unit == "1" else f" {unit}"
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.6g}{tail} (no standard error)"
    power = math.floor(math.log10(error))
    leading = round(error / 10.0 ** (power - 2))
    if leading >= 1000:
        leading, power = leading // 10, power + 1
    if leading <= _TWO_DIGITS:
        last = power - 1
    elif leading <= _ONE_DIGIT:
        last = power
    else:  # 950 to 999 is called 1000, two digits kept
        error, last = 10.0 ** (power + 1), power
    if -5 < last <= 0:
        return f"{value:.{-last}f} +- {error:.{-last}f}{tail}"
    top = max(math.floor(math.log10(abs(value))) if value else last, last)
    digits = max(top - last, 0)
    return f"({value / 10.0**top:.{digits}f} +- {error / 10.0**top:.{digits}f})e{top:+d}{tail}"
