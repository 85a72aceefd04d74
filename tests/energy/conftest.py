from __future__ import annotations

import pytest

from otters_lab.energy.shapes import shape_sites
from otters_lab.ttfs.summary import SiteSummary


@pytest.fixture
def small() -> list[SiteSummary]:
    """Two layers, 32 wide, four heads, six tokens, a quarter of all neurons firing."""
    return shape_sites(2, 32, 48, 6, 0.25, heads=4)
