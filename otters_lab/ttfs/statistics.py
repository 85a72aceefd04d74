"""What fires, site by site: rates, level histograms, kept mass, saturation. Off by default, and then free."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otters_lab.core.log import logger
from otters_lab.core.tomlfile import StrictModel

SPARSE_ALARM = 0.02


class SiteSummary(StrictModel):
    """One site of a network, per inference; what the energy model counts with.

    A site has `tokens * heads * d_in` input neurons (a signed neuron, two rails, counts once), and each of their spikes
    drives `d_out` synapses. Linear inputs have one head; queries have d_in = head_dim, d_out = tokens; attention
    probabilities d_in = tokens, d_out = head_dim.
    """

    name: str
    kind: str  # "linear input", "query" or "attention probability"
    tokens: int
    heads: int
    d_in: int
    d_out: int
    rails: int
    mean_spikes: float  # an inference
    fire_rate: float  # spikes a neuron
    saturation: float  # share of neurons at level T
    kept_mass: float | None  # sum |value coded| / sum |value|; None if all inputs were zero
    level_histogram: list[float]  # share of neurons at level 0..T

    @property
    def neurons(self) -> int:
        """Input neurons an inference."""
        return self.tokens * self.heads * self.d_in

    @property
    def mean_synaptic_operations(self) -> float:
        """Spikes times their fan-out, an inference."""
        return self.mean_spikes * self.d_out


@dataclass
class LevelCounter:
    """Accumulates what one site fires."""

    top: int
    histogram: Tensor
    coded: float = 0.0
    offered: float = 0.0
    examples: int = 0

    @classmethod
    def empty(cls, top: int) -> LevelCounter:
        """A counter that has seen nothing."""
        return cls(top, torch.zeros(top + 1, dtype=torch.int64))

    def add(self, x: Tensor, nominal: Tensor, alpha: Tensor, shift: Tensor | None = None) -> None:
        """Counts a batch: inputs x [B, ...] and their signed levels."""
        self.histogram += torch.bincount(nominal.abs().flatten().long(), minlength=self.top + 1)
        value = alpha.double() * nominal.double() + (0.0 if shift is None else shift.double())
        self.coded += float(value.abs().sum().item())
        self.offered += float(x.abs().double().sum().item())
        self.examples += x.shape[0]


def alarm_if_sparse(summary: SiteSummary) -> None:
    """Logs a warning where fewer than 2 % of a site's neurons fire: too little gets through to compute with."""
    if summary.fire_rate < SPARSE_ALARM:
        kept = "" if summary.kept_mass is None else f", {summary.kept_mass:.0%} of the mass is kept"
        logger.warning(
            "%s (%s): only %.1f %% of neurons fire%s", summary.name, summary.kind, 100 * summary.fire_rate, kept
        )
