"""What fires, site by site: rates, level histograms, kept mass, saturation. Off by default, and then free."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from otters_lab.core.log import logger
from otters_lab.ttfs.summary import SiteSummary

SPARSE_ALARM = 0.02


@dataclass
class LevelCounter:
    """Accumulates what one site fires. `mask` [B, tokens] of this batch is 0 where there is padding; None: nowhere."""

    top: int
    histogram: Tensor
    coded: float = 0.0
    offered: float = 0.0
    examples: int = 0
    tokens: float = 0.0
    synaptic: float = 0.0
    dense: float = 0.0
    mask: Tensor | None = None

    @classmethod
    def empty(cls, top: int) -> LevelCounter:
        """A counter that has seen nothing."""
        return cls(top, torch.zeros(top + 1, dtype=torch.int64))

    def add(self, x: Tensor, nominal: Tensor, alpha: Tensor, shift: Tensor | None, fan_out: int) -> None:
        """Counts a batch: inputs x [B, tokens, lines] or [B, heads, tokens, positions], and their signed levels.

        fan_out : synapses a spike drives; 0 where they are as many as the example has tokens.
        """
        batch, tokens = x.shape[0], x.shape[-2] if x.dim() > 2 else 1
        real = torch.ones(batch, tokens, dtype=torch.bool) if self.mask is None else self.mask[:, :tokens].bool()
        keep = real.reshape(batch, *[1] * (x.dim() - 3), tokens, 1) if x.dim() > 2 else real
        if x.dim() == 4:  # positions that are padding have neurons no more than tokens that are
            keep = keep & real[:, None, None, :]
        keep = keep.expand(x.shape)
        magnitude, lengths = nominal.abs(), real.sum(dim=1).double()
        fans = torch.full_like(lengths, fan_out) if fan_out else lengths
        self.histogram += torch.bincount(magnitude[keep].long(), minlength=self.top + 1)
        value = alpha.double() * nominal[keep].double() + (0.0 if shift is None else shift.double())
        self.coded += float(value.abs().sum())
        self.offered += float(x[keep].abs().double().sum())
        self.examples += batch
        self.tokens += float(lengths.sum())
        self.synaptic += float(((magnitude > 0) & keep).flatten(1).sum(dim=1).double() @ fans)
        self.dense += float(keep.flatten(1).sum(dim=1).double() @ fans)


def alarm_if_sparse(summary: SiteSummary) -> None:
    """Logs a warning where fewer than 2 % of a site's neurons fire: too little gets through to compute with."""
    if summary.fire_rate < SPARSE_ALARM:
        kept = "" if summary.kept_mass is None else f", {summary.kept_mass:.0%} of the mass is kept"
        logger.warning(
            "%s (%s): only %.1f %% of neurons fire%s", summary.name, summary.kind, 100 * summary.fire_rate, kept
        )
