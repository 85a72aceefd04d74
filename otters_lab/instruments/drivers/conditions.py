"""Drivers for what a device is measured under, by their short names: gate and drain bias, temperature, optical power.

Each is a PyMeasure class, or one of ours in PyMeasure's style, behind an attribute map; the same map that a bench file
gives for any other class.
"""

from __future__ import annotations

from collections.abc import Mapping

from otters_lab.instruments.drivers.entries import AttributeMap, BiasDriver, PowerDriver, StageDriver

_OURS = "otters_lab.instruments.drivers"
_TWINS = "otters_lab.instruments.virtual"
_SMU = {"level": "source_voltage", "limit": "current_limit", "output": "output_enabled"}
_TSP_ERRORS = "print(errorqueue.next())"


def _smu(
    model: str, instrument: str, twin: str, bias_V: float, compliance_A: tuple[float, float], evidence: str
) -> BiasDriver:
    """A source-meter of ours as a bias source: its source function alone is used."""
    tsp = "keithley2600" in instrument
    return BiasDriver(
        model=model,
        validated="independent driver",
        evidence=f"as a meter: {evidence}",
        build="",
        twin=f"{_TWINS}.{twin}",
        error_query=_TSP_ERRORS if tsp else "SYST:ERR?",
        map=AttributeMap(
            f"{_OURS}.{instrument}",
            _SMU,
            {"source_function": "VOLT"},
            reset=("reset()", "errorqueue.clear()") if tsp else ("*RST", "*CLS"),
        ),
        bias_V=bias_V,
        compliance_A=compliance_A,
    )


# Limits as in the drivers' own properties, which cite the manuals' pages.
BIASES: Mapping[str, BiasDriver] = {
    "keithley-2400": BiasDriver(
        model="Keithley 2400",
        validated="independent driver",
        evidence="PyMeasure's and QCoDeS's Keithley2400, unmodified on our twin",
        build="",
        twin=f"{_TWINS}.keithley2400:twin",
        map=AttributeMap(
            "pymeasure.instruments.keithley:Keithley2400",
            {"level": "source_voltage", "limit": "compliance_current", "output": "source_enabled"},
            {"source_mode": "voltage", "auto_output_off_enabled": False},
        ),
        bias_V=210.0,
        compliance_A=(1e-9, 1.05),
    ),
    "keithley-2450": _smu(
        "Keithley 2450", "keithley2450:Keithley2450", "keithley2450:twin", 210.0, (1e-9, 1.05), "QCoDeS's Keithley2450"
    ),
    "keithley-2601b": _smu(
        "Keithley 2601B", "keithley2600:Keithley2600", "keithley2600:twin", 40.0, (1e-8, 3.03), "QCoDeS's Keithley2600"
    ),
    "keithley-2611b": _smu(
        "Keithley 2611B", "keithley2600:Keithley2611", "keithley2600:twin", 200.0, (1e-8, 1.515),
        "QCoDeS's Keithley2600",
    ),
}  # fmt: skip

STAGES: Mapping[str, StageDriver] = {
    # Model 336 User's Manual, section 6.6: KRDG?, SETP, RANGE (0 off, 1 low, 2 medium, 3 high). Loop 1, sensor A. A set
    # point is in the unit that the input prefers: 300 would be 300 degC where that is Celsius. It has no SYST:ERR?.
    "lakeshore-336": StageDriver(
        model="Lake Shore 336",
        validated="independent driver",
        evidence="PyMeasure's LakeShore3xx and QCoDeS's LakeshoreModel336, unmodified on our twin",
        build="",
        twin=f"{_TWINS}.lakeshore336:twin",
        error_query=None,
        map=AttributeMap(
            "pymeasure.instruments.lakeshore:LakeShore3xx",
            {"temperature": "input_A.kelvin", "setpoint": "output_1.setpoint", "heater": "output_1.range"},
            reset=(),
            set_up={
                "INTYPE? A": (r"[1-4],.*,1", "kelvin at input A"),
                "OUTMODE? 1": (r"[12],1,[01]", "closed-loop control of output 1 by input A"),
            },
            on="medium",
            off="off",
        ),
        temperature_K=(1.0, 400.0),
    ),
}

POWER_METERS: Mapping[str, PowerDriver] = {
    "thorlabs-pm100usb": PowerDriver(
        model="Thorlabs PM100USB",
        validated="independent driver",
        evidence="PyMeasure's ThorlabsPM100USB, unmodified on our twin",
        build="",
        twin=f"{_TWINS}.pm100usb:twin",
        map=AttributeMap(
            "pymeasure.instruments.thorlabs:ThorlabsPM100USB",
            {"power": "power", "wavelength": "wavelength [nm]", "sensor": "sensor_name", "serial": "sensor_sn"},
            # *RST would drop the zero that the user has set. The unit could be dBm (Thorlabs' own SCPI example).
            reset=("*CLS", "SENS:POW:UNIT W"),
        ),
    ),
}
