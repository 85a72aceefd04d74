"""Networks that are counted side by side, as descriptions: what fires, how often, with how many bits.

Weights and inputs of all have the shape of the network at hand; what differs is the code, the rates and the bits.
Rates of the baselines stand as they were published; one that is not to be found is an assumption, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from otters_lab.energy.constants import ADD


@dataclass(frozen=True)
class Rate:
    """Spikes a neuron and time step of a rate code; `assumed` where no publication at hand gives it."""

    name: str
    value: float
    low: float
    high: float
    source: str
    assumed: bool = False

    def events(self, steps: int) -> tuple[float, float, float]:
        """Spikes a neuron in `steps` steps, as a value, a low and a high one."""
        return self.value * steps, self.low * steps, self.high * steps


@dataclass(frozen=True)
class Network:
    """One network.

    code : "time": spikes as measured, one a neuron at most; "rate": `steps` steps of spikes at `rate`; "values": every
        neuron works and values travel
    operations : constants that each synaptic operation costs
    weight_bits, own_weight_bits : as the papers compare (equal bits), and as its own publication has it
    state_bits : of a key or a value
    value_bits : of what travels, without its sign, where code is "values"; None: as many as the time code's levels need
    signed_spikes : spikes of +1 and -1, with two comparators and a sign bit (in time code: as measured)
    device, shares : levels are read from devices; a device serves several synapses (`Settings.sharing`)
    reals : arithmetic of the softmax, norms and sums; "shift": powers of two in integers
    """

    name: str
    code: Literal["time", "rate", "values"]
    operations: tuple[str, ...]
    weight_bits: int
    own_weight_bits: int
    state_bits: int
    source: str
    value_bits: int | None = None
    steps: int = 1
    rate: Rate | None = None
    signed_spikes: bool = False
    device: bool = False
    shares: bool = False
    reals: Literal["fp16", "fp32", "shift"] = "fp16"


_OTTERS, _OTTERS_PP = "arXiv 2509.18968", "arXiv 2606.13016"

OTTERS = Network("Otters, 1-bit KV", "time", (ADD,), 1, 1, 1, _OTTERS, device=True)
OTTERS_4 = Network("Otters, 4-bit KV", "time", (ADD,), 1, 1, 4, _OTTERS, device=True)
OTTERS_PP = Network("Otters++, shared devices", "time", (ADD,), 1, 1, 1, _OTTERS_PP, device=True, shares=True)
DIGITAL_TTFS = Network(
    "digital TTFS",
    "time",
    (ADD, "int8 multiply"),
    1,
    1,
    1,
    "its decay is computed and multiplied in: an extra multiply",
)
QNN = Network("1-bit QNN (W1A4)", "values", (ADD,), 1, 1, 1, "the network that Otters is converted from")
INT8 = Network("BERT, int8", "values", ("int8 multiply", "int32 add"), 8, 8, 8, "arXiv 1910.06188", value_bits=7)
FP32 = Network(
    "BERT, fp32", "values", ("fp32 multiply-accumulate",), 32, 32, 32, "arXiv 1810.04805", value_bits=31, reals="fp32"
)
SORBET = Network(
    "Sorbet",
    "rate",
    (ADD,),
    1,
    1,
    4,
    "arXiv 2409.15298: T = 16, 1-bit weights, power-of-two softmax and norm",
    steps=16,
    rate=Rate("spike rate of Sorbet", 0.14, 0.13, 0.15, "arXiv 2409.15298: 0.13 to 0.15"),
    reals="shift",
)
SPIKE_LM = Network(
    "SpikeLM (ternary)",
    "rate",
    (ADD,),
    1,
    32,
    2,
    "arXiv 2406.03287: ternary spikes, keys and values",
    steps=4,
    # By the prices of its own comparison: a spike accumulates (0.9 pJ) where BERT multiplies and accumulates (4.6 pJ).
    rate=Rate(
        "spike rate of SpikeLM",
        4.6 / 0.9 / 3.7 / 4,
        4.6 / 0.9 / 3.75 / 4,
        4.6 / 0.9 / 3.65 / 4,
        "arXiv 2406.03287 (SpikeLM, from public notes on it): 3.7 times less than BERT at T = 4; Horowitz, ISSCC 2014",
    ),
    signed_spikes=True,
)
SPIKING_BERT = Network(
    "SpikingBERT (rate)",
    "rate",
    (ADD,),
    1,
    32,
    7,
    "arXiv 2308.10873; T = 125 from its code's README (NeuroCompLab-psu/SpikingBERT, t_conv); 7 bits count to T",
    steps=125,
    rate=Rate(
        "spike rate of SpikingBERT",
        0.1,
        0.02,
        0.3,
        "no published value found: an assumption with its range",
        assumed=True,
    ),
)

DEVICE_NETWORKS = (OTTERS_PP, OTTERS, OTTERS_4)
BASELINES = (DIGITAL_TTFS, QNN, SPIKE_LM, SORBET, SPIKING_BERT, INT8, FP32)
NETWORKS = DEVICE_NETWORKS + BASELINES
