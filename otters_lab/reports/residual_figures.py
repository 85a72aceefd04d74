"""Figures of what a calibration's curves leave over, and of its model against what was recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from otters_lab.core.protocols import Array
from otters_lab.reports.figures import INK, PALETTE, Drawing, panel, seconds_axis, unit_for
from otters_lab.reports.residuals import Fitted, LevelScatter, autocorrelation

_BINS = 60
_FITTED = 3  # parameters a trace


def residual_figure(found: Fitted, noise_A: float | None) -> Drawing:
    """Residuals against time: their middle and where 95 % of them lie; `noise_A` is a reading's sd, if known."""
    used = found.decays.used > 0
    time_s = np.broadcast_to(found.decays.time_s, found.left_A.shape)[used]
    left = found.left_A[used]
    edges = np.unique(np.quantile(time_s, np.linspace(0, 1, 4 * _BINS + 1)))
    edges = edges[np.unique(np.searchsorted(edges, np.geomspace(edges[0], edges[-1], _BINS)).clip(0, len(edges) - 1))]
    bins = np.clip(np.searchsorted(edges, time_s, side="right") - 1, 0, len(edges) - 2)
    order = np.argsort(bins, kind="stable")
    parts = [part for part in np.split(order, np.flatnonzero(np.diff(bins[order])) + 1) if len(part)]
    at = np.array([np.median(time_s[part]) for part in parts])
    low, middle, high = np.array([np.quantile(left[part], (0.025, 0.5, 0.975)) for part in parts]).T
    unit = unit_for(np.concatenate([low, high]), "A")
    with panel() as (figure, axes):
        axes.fill_between(at, low * unit.scale, high * unit.scale, color=PALETTE[0], alpha=0.25, lw=0,
                          label="95 % of the residuals")  # fmt: skip
        axes.plot(at, middle * unit.scale, color=PALETTE[0], lw=1.4, label="median")
        if noise_A is not None:
            for sign in (-1, 1):
                axes.axhline(sign * 1.96 * noise_A * unit.scale, color=PALETTE[1], lw=1, ls="--",
                             label="95 % of the meter's white noise" if sign > 0 else None)  # fmt: skip
        axes.axhline(0, color=INK, lw=0.7)
        seconds_axis(axes)
        reach = max(abs(low).max(), abs(high).max(), 0.0) * unit.scale
        axes.set_ylim(-1.9 * reach, 1.25 * reach)
        axes.set(xlabel="time after the light's edge, logarithmic", ylabel=f"reading less curve ({unit.name})")
        axes.legend(loc="lower left")
    return Drawing(
        "residuals",
        figure,
        f"What the traces' curves leave over of their readings ({len(found.rows)} traces). The band should be level, "
        "about 0, as wide as the meter's noise. A median that bends is a shape the law does not have; a band that "
        "widens towards the left, an edge known worse than stated.",
    )


def qq_figure(groups: Sequence[Array]) -> Drawing:
    """Quantiles of whitened residuals against a Gaussian's."""
    values = np.sort(np.concatenate([group.ravel() for group in groups]))
    share = norm.cdf(np.linspace(-1, 1, 61) * float(norm.ppf(1 - 0.5 / max(len(values), 2))))
    expected, found = norm.ppf(share), np.quantile(values, share)
    reach = float(np.max(np.abs(expected))) * 1.05
    with panel() as (figure, axes):
        axes.plot([-reach, reach], [-reach, reach], color=INK, lw=0.8)
        axes.plot(expected, found, ".", ms=5, color=PALETTE[0])
        axes.set(xlabel="quantile of a Gaussian", ylabel="quantile of the residuals, whitened")
    return Drawing(
        "qq",
        figure,
        f"Q\u2013Q plot of {len(values)} residuals in units of the meter's noise: their sd is {np.std(values):.3f}, "
        "right is 1. The dots should lie on the line. Ends that leave it upwards at the right and downwards at the "
        "left are heavy tails (spikes, telegraph noise); a slope other than 1, noise that is not what it was thought.",
    )


def autocorrelation_figure(groups: Sequence[Array], found: Fitted) -> Drawing:
    """Autocorrelation of residuals, whitened and as they are."""
    white = autocorrelation(groups)
    count, samples = sum(group.size for group in groups), float(np.median([group.shape[1] for group in groups]))
    plain = [found.left_A[found.decays.used.all(axis=1)]]
    bound, taken = 1.96 / max(count, 1) ** 0.5, _FITTED / samples
    with panel() as (figure, axes):
        axes.axhspan(-taken - bound, -taken + bound, color=PALETTE[6], alpha=0.3, lw=0, label="95 % of white noise")
        if plain[0].size:
            raw = autocorrelation(plain)
            axes.plot(range(1, len(raw) + 1), raw, ".-", ms=4, lw=0.8, color=PALETTE[1], label="as they are")
        axes.plot(range(1, len(white) + 1), white, ".-", ms=4, lw=0.8, color=PALETTE[0], label="whitened")
        axes.axhline(0, color=INK, lw=0.7)
        axes.set(xlabel="lag (samples)", ylabel="autocorrelation")
        axes.legend(loc="best")
    return Drawing(
        "autocorrelation",
        figure,
        "Do residuals know of each other? Whitened by the meter's spectrum they should scatter within the grey band "
        "(a little below 0, since each trace's fit has taken three parameters off). As they are, 1/f noise lifts them "
        "at first. What stays above the band after whitening is slow noise that the spectrum does not have, or a curve "
        "the law does not have: then the fit's errors are too small.",
    )


def sampled_figure(scatter: LevelScatter) -> Drawing:
    """Quantiles of single readings near the level times, and of the model's draws."""
    shares = (0.025, 0.25, 0.75, 0.975)
    drawn = np.quantile(scatter.sampled, shares, axis=0)
    found = np.quantile(scatter.measured, shares, axis=0)
    with panel() as (figure, axes):
        axes.fill_between(scatter.k, drawn[0], drawn[3], color=PALETTE[0], alpha=0.2, lw=0, label="95 % of the draws")
        axes.fill_between(scatter.k, drawn[1], drawn[2], color=PALETTE[0], alpha=0.35, lw=0, label="half of the draws")
        axes.plot(scatter.k, found[0], "_", ms=9, mew=1.6, color=PALETTE[1], label="the same of the readings")
        for line in found[1:]:
            axes.plot(scatter.k, line, "_", ms=9, mew=1.6, color=PALETTE[1])
        axes.axhline(0, color=INK, lw=0.7)
        axes.set(xlabel="time index k", ylabel="O($t_k$) less its device's mean")
        axes.legend(loc="upper left")
        axes.set_ylim(top=1.4 * axes.get_ylim()[1])
    return Drawing(
        "sampled",
        figure,
        f"Measured against sampled: single readings of {len(scatter.measured)} runs near the level times, less their "
        f"device's mean and the drift, and {len(scatter.sampled)} runs drawn from the model with the meter's noise "
        "added. The dashes should lie on the bands' edges. Dashes further out: the model is too quiet, a network "
        "trained on it will meet more noise than it learnt with.",
    )


def sampled_sd_figure(scatter: LevelScatter) -> Drawing:
    """sd of the readings over sd of the draws, with what chance allows."""
    ratio = scatter.measured.std(axis=0) / scatter.sampled.std(axis=0)
    half = 1.96 / (2 * len(scatter.measured)) ** 0.5
    with panel() as (figure, axes):
        axes.axhspan(0.9, 1.1, color=PALETTE[6], alpha=0.25, lw=0, label="10 %: the gate's limit")
        axes.errorbar(scatter.k, ratio, yerr=ratio * half, fmt="o", ms=4, lw=1.2, color=PALETTE[0])
        axes.axhline(1, color=INK, lw=0.8)
        axes.set(xlabel="time index k", ylabel="sd measured / sd sampled")
        low, high = axes.get_ylim()
        axes.set_ylim(min(low, 0.85), max(high, 1.2))
        axes.legend(loc="best")
    return Drawing(
        "sampled-sd",
        figure,
        "The scatter of the readings over that of the draws, level by level, with 95 % intervals as of Gaussian runs. "
        "It should be 1 within the grey band. A slope says that the model's parameters do not vary the way the device "
        "does.",
    )
