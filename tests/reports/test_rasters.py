from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from otters_lab.core.errors import RefusedError
from otters_lab.reports.rasters import membrane_plot, raster_plot
from otters_lab.ttfs.events import Simulator
from otters_lab.ttfs.functional import weight_signs
from otters_lab.ttfs.layers import SiteShape, TTFSCode, TTFSLinear
from otters_lab.ttfs.spikes import Record


def a_record() -> Record:
    torch.manual_seed(0)
    layer = TTFSLinear(nn.Linear(6, 5), 4, "two rails", "row", TTFSCode(SiteShape("query", 1, 5, 0), 4, "two rails"))
    with torch.no_grad():
        layer.code.alpha.fill_(0.2)
    names = {id(layer): "layer.0.query", id(layer.code): "layer.0.query.code", id(layer.neurons): "layer.0.neurons"}
    simulator = Simulator(watch=5, names=names)
    levels = simulator.encode(layer.code, torch.randn(2, 3, 6))
    simulator.fire(layer, simulator.accumulate(layer.code, levels, weight_signs(layer.weight)))
    return simulator.record()


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    for draw in (raster_plot, membrane_plot):
        first, second = (draw(a_record(), tmp_path / f"{run}.svg").read_bytes() for run in range(2))
        assert first == second
        assert b"rail" in first
        assert draw(a_record(), tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_without_what_a_figure_shows_is_refused(tmp_path: Path) -> None:
    nothing = Record((), (), {}, {}, 0)
    with pytest.raises(RefusedError, match="spike trains"):
        raster_plot(nothing, tmp_path / "a.svg")
    with pytest.raises(RefusedError, match="watch"):
        membrane_plot(nothing, tmp_path / "a.svg")
