from __future__ import annotations

from typing import Any

import pytest
import torch

from otters_lab.core.errors import InputError
from otters_lab.ttfs.code import IdealReader
from otters_lab.ttfs.device import DeviceReader, Place, draw, sites, using


@pytest.mark.parametrize("place", ["layer", "line"])
@pytest.mark.parametrize("device_sd", [0.0, 0.05])
def test_an_example_s_result_does_not_depend_on_the_batch_it_travels_in(
    spiking_vit: Any, images: torch.Tensor, curve_reader: Any, place: Place, device_sd: float
) -> None:
    # In float64: a float32 product may differ in its last bit between batch sizes, and a tie may turn on it.
    model, images = spiking_vit.double(), images.double().repeat(4, 1, 1, 1)
    tables = draw(model, curve_reader(device_sd=device_sd), len(images), (7, 0), place)
    with torch.no_grad():
        with using(model, tables):
            together = model(images).logits
        alone = []
        for i in range(len(images)):
            with using(model, tables, torch.tensor([i])):
                alone.append(model(images[i : i + 1]).logits)
    assert len(images) == 64
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-10)
    assert not torch.equal(together[0], together[16]), "the same image, another example: another draw"


def test_the_seed_decides_every_table_and_sites_and_runs_differ(spiking_vit: Any, curve_reader: Any) -> None:
    first, again, other = (draw(spiking_vit, curve_reader(), 5, (0, run)) for run in (0, 0, 1))
    names = list(first)
    assert all(torch.equal(first[name], again[name]) for name in names)
    assert not any(torch.equal(first[name], other[name]) for name in names)
    assert not torch.equal(first[names[0]], first[names[1]])
    assert first[names[0]].shape == (5, 1, 16)


@pytest.mark.parametrize("place", ["layer", "line"])
def test_devices_are_drawn_once_a_run_and_site_and_read_anew_for_every_example(
    spiking_vit: Any, curve_reader: Any, place: Place
) -> None:
    still = curve_reader(run_sd=0.0, device_sd=0.05)
    assert isinstance(still, DeviceReader)
    tables = draw(spiking_vit, still, 4, (0, 0), place)
    ends = []
    for name, site in sites(spiking_vit).items():
        assert tables[name].shape == (4, site.shape.lines if place == "line" else 1, 16)
        assert (tables[name] == tables[name][:1]).all(), "without run-to-run noise all examples meet the same device"
        ends += tables[name][0, :, -1].tolist()
    assert len(set(ends)) == len(ends), "every site and line has a device of its own"
    moving = draw(spiking_vit, curve_reader(run_sd=0.02, device_sd=0.05), 4, (0, 0), place)
    assert not (moving[name][1:] == moving[name][:1]).any()


def test_device_and_run_spreads_add_up_at_the_last_level(spiking_vit: Any, curve_reader: Any) -> None:
    ends = torch.cat(
        [table[:, 0, -1] for run in range(40)
         for table in draw(spiking_vit, curve_reader(run_sd=0.02, device_sd=0.05), 3, (0, run)).values()]
    ) / 15  # fmt: skip
    assert float(ends.std()) == pytest.approx((0.02**2 + 0.005**2 + 0.05**2) ** 0.5, rel=0.1)


def test_no_device_stays_behind_after_use(spiking_vit: Any, images: torch.Tensor, curve_reader: Any) -> None:
    with torch.no_grad():
        before = spiking_vit(images).logits
        with using(spiking_vit, draw(spiking_vit, curve_reader(), len(images), (0, 0))):
            noisy = spiking_vit(images).logits
        assert torch.equal(spiking_vit(images).logits, before)
    assert not torch.equal(noisy, before)


def test_a_reader_of_another_code_is_refused(spiking_vit: Any) -> None:
    with pytest.raises(InputError, match="found 8, expected 16 levels"):
        draw(spiking_vit, IdealReader(3), 2, (0, 0))
