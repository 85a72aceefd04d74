"""What is open or a choice: how devices are lit, read and shared, how spikes travel, how fast it goes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from otters_lab.core.tomlfile import StrictModel
from otters_lab.energy.constants import MEAN_HOPS


class Settings(StrictModel):
    """Choices of an energy report; SI units.

    light : a pulse lights every device at the start of each "window", or those alone that are read, at a "spike"
    level_read : a device is read "once" a spike for all synapses it serves, or once a "synapse"
    sharing : synapses of a line's fan-out that one device serves, in networks that share devices; from the whole
        fan-out on, the level is read once for all
    reads_a_pulse : reads of a device until it must be lit again; None: a pulse lasts the window
    adc_bits, adc_sharing : resolution of the converters; devices that take turns at one
    steps : T of the time code; None: as measured
    hops : of every message, or "mesh": from a placement of the layers (see `mapping`)
    encoding : spikes travel as "event" addresses, or as "dense" values, those of silent neurons too
    weights_in : memory that weights are read from; keys and values are in 1 MiB of SRAM
    wired_weights : in networks of devices a weight's sign is how its synapse is wired, and is not read (the first
        paper's table is met best so); baselines read theirs
    baseline_bits : weights of the spiking baselines at "equal" bits (1), as the papers compare, or their "own"
    residual_bits : of the residual stream, where the network is not fp32
    tile_bits : memory of a tile of the mesh
    light_pulse_J, device_read_J, device_pitch_m, static_power_W : what no source gives; None: unknown, and static
        power not counted
    window_s, recovery_s, conversion_s : of a layer's window (see paper 2: 100 us if tau is in seconds), of the
        device's recovery after it, of one conversion; None: readout takes no time
    tokens_at_once : positions that pass a layer side by side; None: all
    pipelined : whether a layer takes the next positions while those before are in the next
    """

    light: Literal["window", "spike"] = "window"
    level_read: Literal["once", "synapse"] = "once"
    sharing: int = Field(default=64, ge=1)
    reads_a_pulse: int | None = Field(default=None, ge=1)
    adc_bits: int = Field(default=4, ge=4, le=8)
    adc_sharing: int = Field(default=1, ge=1)
    steps: int | None = Field(default=None, ge=1)
    hops: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["mesh"] = MEAN_HOPS
    encoding: Literal["event", "dense"] = "event"
    weights_in: Literal["32 KiB", "256 KiB", "1 MiB", "DRAM"] = "1 MiB"
    wired_weights: bool = False
    baseline_bits: Literal["equal", "own"] = "equal"
    residual_bits: Literal[16, 32] = 16
    tile_bits: int = Field(default=2**21, ge=1)
    light_pulse_J: float | None = Field(default=None, ge=0)
    device_read_J: float | None = Field(default=None, ge=0)
    device_pitch_m: float | None = Field(default=None, gt=0)
    static_power_W: float | None = Field(default=None, ge=0)
    window_s: float = Field(default=1e-4, gt=0)
    recovery_s: float = Field(default=0.0, ge=0)
    conversion_s: float | None = Field(default=None, ge=0)
    tokens_at_once: int | None = Field(default=None, ge=1)
    pipelined: bool = True
