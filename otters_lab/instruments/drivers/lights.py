"""The light sources by the short names that bench files use. Adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Mapping

from otters_lab.instruments.drivers.entries import LightDriver

_DRIVERS = "otters_lab.instruments.drivers"
_TWINS = "otters_lab.instruments.virtual"

LIGHTS: Mapping[str, LightDriver] = {
    # 33500 Series Operating and Service Guide: FUNCtion:PULSe:WIDTh, TRIGger:DELay, output ratings. The period is twice
    # the width, hence half of its 1e6 s.
    "agilent-33500": LightDriver(
        model="Agilent 33500",
        validated="independent driver",
        evidence="PyMeasure's Agilent33500, unmodified on our twin",
        build=f"{_DRIVERS}.agilent33500:build",
        twin=f"{_TWINS}.agilent33500:twin",
        width_s=(16e-9, 5e5),
        delay_s=(0.0, 1000.0),
        drive_V={"high impedance": (2e-3, 10.0), "50 ohm": (1e-3, 5.0)},
        sync_uncertainty_s=10e-3,  # of *TRG; a bound we assume, as for the DC2200 below
        sync_out=True,
    ),
    # DC2200 Operation Manual v1.8, section 4.3.2: pulse mode has no trigger input. The uncertainty of a software start
    # is no figure of the manual: it is a bound we assume for a USB link and the instrument's own delay, measured by
    # nobody here. 0.1 % of brightness is the finest step that is taken for granted.
    "thorlabs-dc2200": LightDriver(
        model="Thorlabs DC2200",
        validated="none",
        evidence="Operation Manual v1.8 as quoted by public code; the manual was not at hand",
        build=f"{_DRIVERS}.dc2200:build",
        twin=f"{_TWINS}.dc2200:twin",
        width_s=(1e-6, 10.0),
        delay_s=(0.0, 1000.0),
        drive_V={"high impedance": (0.01, 10.0)},
        sync="software",
        sync_uncertainty_s=10e-3,
        full_scale_A=(0.01, 10.0),
    ),
}
