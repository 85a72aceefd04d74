"""Latency and area of a time-coded network: windows, readout, pipelining; devices, converters, comparators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from otters_lab.energy.counter import devices_a_line
from otters_lab.energy.mapping import layers_of
from otters_lab.energy.networks import Network
from otters_lab.energy.settings import Settings
from otters_lab.ttfs.summary import SiteSummary


@dataclass(frozen=True)
class Latency:
    """Seconds an inference takes; digital parts are taken to hide behind the windows.

    stage_s : a window, the device's recovery and the readout; readout_known is False where no time of a conversion is
        given, and readout takes none
    stages : a block's windows one after the other; a layer's three projections share one
    passes : times that a layer is used for all positions
    block_s, inference_s : of a block of the most stages, and of all blocks
    """

    stage_s: float
    readout_known: bool
    stages: int
    passes: int
    block_s: float
    inference_s: float


@dataclass(frozen=True)
class Area:
    """What a network takes that is laid out layer by layer, `tokens_at_once` positions wide.

    device_m2 : None where the pitch is unknown; then it is `devices` times the pitch squared
    """

    devices: float
    converters: float
    comparators: float
    device_m2: float | None


def latency(sites: Sequence[SiteSummary], settings: Settings) -> Latency:
    """Windows one after the other; pipelined, a stage takes the next positions while those before are in the next.

    Scores need all keys, so a pipeline is emptied once a block, behind the projections. Devices that share a converter
    are read one after the other.
    """
    readout = settings.adc_sharing * (settings.conversion_s or 0.0)
    stage = settings.window_s + settings.recovery_s + readout
    tokens = max(site.tokens for site in sites)
    passes = math.ceil(tokens / (settings.tokens_at_once or tokens))
    blocks, longest = [], 0
    for layer in layers_of(sites):
        before = 1 if layer.projections else 0
        behind = len(layer.queries) + len(layer.probabilities) + len(layer.rest)
        overlapped = before * passes + behind + passes - 1
        blocks.append(stage * (overlapped if settings.pipelined else (before + behind) * passes))
        longest = max(longest, before + behind)
    return Latency(stage, settings.conversion_s is not None, longest, passes, max(blocks), math.fsum(blocks))


def area(sites: Sequence[SiteSummary], network: Network, settings: Settings) -> Area:
    """Devices of all lines and rails, converters that `adc_sharing` devices share, comparators of all neurons."""
    devices = comparators = 0.0
    for site in sites:
        at_once = min(site.tokens, settings.tokens_at_once or site.tokens)
        neurons = site.neurons / site.tokens * at_once * site.rails
        comparators += neurons
        devices += neurons * devices_a_line(site, network, settings)
    pitch = settings.device_pitch_m
    converters = math.ceil(devices / settings.adc_sharing)
    return Area(devices, converters, comparators, None if pitch is None else devices * pitch**2)
