"""From the least-squares fit to the best one under the noise's own spectrum and the light edge's uncertainty.

Least squares takes every reading for independent. Here the readings are whitened with their covariance: read noise, and
sigma^2*d*d' for an edge known to sigma, d the derivative of the curve by the edge's time (t0 as a nuisance with a
prior, marginalised). The estimation covariance (J'C^-1 J)^-1 then is what the noise really does to a fit, and what the
fit leaves over is uncorrelated with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from otters_lab.calibration.bulk import C_BOUNDS, Decays, SharedC, jacobian
from otters_lab.calibration.engines import ON_ONE_CORE, Result, Runner
from otters_lab.calibration.noise import ReadNoise
from otters_lab.calibration.streamed import DecaySupply, InMemory, fit_at
from otters_lab.core.files import canonical_json, sha256_bytes
from otters_lab.core.protocols import AnyArray, Array

_MAX_SAMPLES = 1000  # longer records are averaged over neighbours first: their covariance matrix has this many rows
_CHUNK = 1000
_STEPS = 2  # from least squares, which is near enough for one


@dataclass(frozen=True)
class Whitener:
    """Of traces on one grid with one edge uncertainty: `average` [row, sample] neighbours, `root` [row, row] with
    root @ root.T the covariance of the averages, in units of `scale`.
    """

    rows: AnyArray
    use: AnyArray
    average: Array | None
    root: Array
    scale: float

    def __call__(self, values: Array) -> Array:
        """values [trace, sample, ...] of this group, in the decays' unit: whitened [trace, row, ...]."""
        flat = values[:, self.use].reshape(len(values), int(self.use.sum()), -1) / self.scale
        rows = np.moveaxis(flat, 1, 0)
        if self.average is not None:
            rows = np.tensordot(self.average, rows, axes=1)
        solved = solve_triangular(self.root, rows.reshape(len(rows), -1), lower=True, check_finite=False)
        solved = np.moveaxis(solved.reshape(len(rows), len(values), -1), 0, 1)
        return np.asarray(solved.reshape(len(values), len(rows), *values.shape[2:]))


@dataclass(frozen=True)
class Refined:
    """theta [trace, 3] and its estimation covariance [trace, 3, 3], in the decays' unit; the whiteners; the c in it."""

    shared: SharedC
    theta: Array
    estimation: Array
    whiteners: list[Whitener]


@dataclass(frozen=True)
class RefineChunk:
    """The work on one chunk: Gauss-Newton steps at a fixed c from theta [trace, 3] of all."""

    supply: DecaySupply
    whiteners: list[Whitener]
    theta: Array
    c: float

    def __call__(self, start: int, stop: int) -> Result:
        theta, estimation = self.theta[start:stop].copy(), np.empty((stop - start, 3, 3))
        for whitener, rows in _chunks(self.whiteners, start, stop):
            part, here = self.supply.decays(rows), rows - start
            for _ in range(_STEPS):
                J, residual = whitened(whitener, part, theta[here], self.c)
                inverse = _inverse(J)
                trial = theta[here] + np.einsum("nij,nsj,ns->ni", inverse, J, residual)
                trial[:, 2] = np.clip(trial[:, 2], -6.0, 6.0)
                after = whitened(whitener, part, trial, self.c)[1]
                # A fit that least squares left at a bound can be thrown far off by a full step: it stays where it is.
                better = np.sum(after**2, axis=1) <= np.sum(residual**2, axis=1)
                theta[here[better]] = trial[better]
                estimation[here] = inverse
        return {"theta": theta, "estimation": estimation}


def refine(
    shared: SharedC,
    decays: Decays,
    noise: ReadNoise,
    duration_s: float,
    edge_s: Array,
    groups: AnyArray,
    free_c: bool,
    runner: Runner = ON_ONE_CORE,
) -> Refined:
    """Gauss-Newton steps on whitened readings from the least-squares fit; c moves with them where `free_c`.

    edge_s [trace] is the sd of each trace's edge time; `groups` [trace] device numbers, for the sd of c.
    """
    theta, c, sd = shared.fit.theta, shared.c, shared.sd
    supply = InMemory(decays)
    whiteners = whiteners_of(decays, theta, c, noise, duration_s, edge_s)
    if free_c:
        c, sd = _refine_c(shared, decays, whiteners, groups)
    roots = [sha256_bytes(part.root.tobytes()) for part in whiteners]
    start = sha256_bytes(np.ascontiguousarray(theta).tobytes())
    task = sha256_bytes(canonical_json(["refined", supply.identity, roots, start, c, runner.size]))
    found = runner("weighing by the noise", RefineChunk(supply, whiteners, theta, c), len(theta), task)
    if c != shared.c:
        shared = replace(shared, c=c, sd=sd, fit=fit_at(supply, c, runner, theta))
    return Refined(shared, found["theta"], found["estimation"], whiteners)


def whitened(whitener: Whitener, part: Decays, theta: Array, c: float) -> tuple[Array, Array]:
    """Jacobian [trace, row, 3] and residual [trace, row] of traces of one group, whitened."""
    model, J = jacobian(part, theta, c)
    return whitener(J), whitener((part.y - model)[..., None])[..., 0]


def _inverse(J: Array) -> Array:
    scale = np.sqrt(np.sum(J**2, axis=1)) + 1e-300
    normal = np.einsum("nsi,nsj->nij", J, J) / (scale[:, :, None] * scale[:, None, :])
    return np.asarray(np.linalg.pinv(normal, hermitian=True) / (scale[:, :, None] * scale[:, None, :]))


def _chunks(whiteners: list[Whitener], start: int = 0, stop: int | None = None) -> Iterator[tuple[Whitener, AnyArray]]:
    """Each whitener with some of its traces at a time, of those from `start` to before `stop`."""
    for whitener in whiteners:
        rows = whitener.rows[(whitener.rows >= start) & (whitener.rows < (np.inf if stop is None else stop))]
        for first in range(0, len(rows), _CHUNK):
            yield whitener, rows[first : first + _CHUNK]


def whiteners_of(
    decays: Decays, theta: Array, c: float, noise: ReadNoise, duration_s: float, edge_s: Array
) -> list[Whitener]:
    """One whitener for all traces that share times and edge uncertainty (to two digits), at their median parameters."""
    edges = np.array([float(f"{edge:.1e}") for edge in edge_s])
    times = np.broadcast_to(decays.time_s, decays.y.shape) if len(decays.time_s) > 1 else decays.time_s
    keys: dict[bytes, list[int]] = {}
    for row in range(len(decays.y)):
        grid = times[row].tobytes() if len(decays.time_s) > 1 else b""
        keys.setdefault(grid + decays.used[row].tobytes() + edges[row].tobytes(), []).append(row)
    made = []
    for members in keys.values():
        rows = np.array(members)
        use = decays.used[rows[0]] > 0
        t = times[rows[0] if len(decays.time_s) > 1 else 0][use]
        middle = np.median(theta[rows], axis=0, keepdims=True)
        scale = abs(float(middle[0, 1])) or 1.0
        average, thinned, thinned_noise = _averaging(t, noise)
        covariance = thinned_noise.covariance(thinned, duration_s) / scale**2
        slope = edge_slope(decays, t, middle, c, float(edges[rows[0]])) / scale * edges[rows[0]]
        if average is not None:
            slope = average @ slope
        covariance += np.outer(slope, slope)
        # A record without noise has a singular covariance; 1e-9 of the drop is below any converter's step.
        covariance += np.eye(len(thinned)) * 1e-18
        made.append(Whitener(rows, use, average, np.asarray(np.linalg.cholesky(covariance)), scale))
    return made


def edge_slope(decays: Decays, t: Array, theta: Array, c: float, edge_s: float) -> Array:
    """Change of the readings at t [sample] per second that the edge comes late; theta [1, 3].

    Over twice the uncertainty, not in the limit: near the edge the curve is far from straight.
    """
    half = min(max(edge_s, 1e-7 * decays.window_s), 0.5 * (float(t.min()) - decays.aperture_s / 2) + 1e-300)
    flat = Decays(t[None], np.zeros((1, len(t))), np.ones((1, len(t))), decays.aperture_s, decays.window_s)
    late, early = (jacobian(replace(flat, time_s=t[None] - sign * half), theta, c)[0][0] for sign in (1, -1))
    return np.asarray((late - early) / (2 * half))


def _averaging(t: Array, noise: ReadNoise) -> tuple[Array | None, Array, ReadNoise]:
    """Means over so many neighbours that the covariance stays small; the early readings, where the curve is steep, stay
    as they are.
    """
    if len(t) <= _MAX_SAMPLES:
        return None, t, noise
    single = _MAX_SAMPLES // 2
    blocks = np.array_split(np.arange(single, len(t)), _MAX_SAMPLES - single)
    average = np.zeros((_MAX_SAMPLES, len(t)))
    average[np.arange(single), np.arange(single)] = 1.0
    for row, block in enumerate(blocks, single):
        average[row, block] = 1 / len(block)
    return average, np.asarray(average @ t), _Thinned.of(noise, (average**2).sum(axis=1))


@dataclass(frozen=True)
class _Thinned(ReadNoise):
    """Noise of averages: the white part shrinks with their number, the 1/f part is that at their middle."""

    shrink: Array | None = None

    @classmethod
    def of(cls, noise: ReadNoise, shrink: Array) -> _Thinned:
        return cls(noise.white_sd, noise.flicker, noise.interval_s, noise.segments, shrink=shrink)

    def covariance(self, time_s: Array, duration_s: float) -> Array:
        assert self.shrink is not None
        flicker = ReadNoise(0.0, self.flicker, self.interval_s, self.segments).covariance(time_s, duration_s)
        return np.asarray(flicker + np.diag(self.shrink * self.white_sd**2))


def _refine_c(
    shared: SharedC, decays: Decays, whiteners: list[Whitener], groups: AnyArray
) -> tuple[float, float | None]:
    """One Gauss-Newton step of c with every trace's parameters projected out; its sd by jackknife over devices."""
    names, codes = np.unique(groups, return_inverse=True)
    score, information = np.zeros(len(names)), np.zeros(len(names))
    c, theta = shared.c, shared.fit.theta
    h = 1e-4 * (1 - c)
    for whitener, rows in _chunks(whiteners):
        part = decays.take(rows)
        J, residual = whitened(whitener, part, theta[rows], c)
        high, low = (jacobian(part, theta[rows], c + sign * h)[0] for sign in (1, -1))
        by_c = whitener(((high - low) / (2 * h))[..., None])[..., 0]
        left = by_c - np.einsum("nsi,nij,ntj,nt->ns", J, _inverse(J), J, by_c, optimize=True)
        np.add.at(score, codes[rows], np.sum(left * residual, axis=1))
        np.add.at(information, codes[rows], np.sum(left**2, axis=1))
    total = float(information.sum())
    if total <= 0:
        return c, shared.sd
    moved = float(np.clip(c + score.sum() / total, *C_BOUNDS))
    if len(names) < 3:
        return moved, shared.sd
    left_out = np.array([(score.sum() - s) / (total - i) for s, i in zip(score, information, strict=True)])
    sd = float(np.sqrt((len(names) - 1) / len(names) * np.sum((left_out - left_out.mean()) ** 2)))
    return moved, sd
