"""Places and times of noise: what is common, what is drawn anew, and that batches and padding change nothing."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from otters_lab.core.errors import InputError
from otters_lab.ttfs.code import IdealReader
from otters_lab.ttfs.config import CodeConfig, NoiseConfig, Place, Time
from otters_lab.ttfs.convert import calibrate_scales, convert
from otters_lab.ttfs.device import DeviceReader, Devices, sites, using

PLACES, TIMES = get_args(Place), get_args(Time)
LENGTH = 11


@pytest.fixture(scope="module")
def words() -> torch.Tensor:
    return torch.randint(1, 50, (8, LENGTH), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def bert(words: torch.Tensor) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = BertConfig(vocab_size=50, max_position_embeddings=32, initializer_range=0.3, **shape)
    model = convert(BertForSequenceClassification(config).double().eval(), CodeConfig())
    calibrate_scales(model, lambda: model(words))
    return model


def devices(reader: Any, run: int = 0, **config: Any) -> Devices:
    return Devices(reader, (7, run), NoiseConfig(**config), max_tokens=32)


@torch.no_grad()
def logits(model: Any, words: torch.Tensor, drawn: Devices, ids: Any = None, mask: Any = None) -> torch.Tensor:
    with using(model, drawn, range(len(words)) if ids is None else ids):
        return model(words, attention_mask=mask).logits


@pytest.mark.parametrize("device_place", PLACES)
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("place", PLACES)
def test_neither_the_batch_nor_the_padding_an_example_travels_with_changes_its_draws(
    bert: Any, words: torch.Tensor, curve_reader: Any, place: Place, time: Time, device_place: Place
) -> None:
    drawn = devices(curve_reader(device_sd=0.05), run_place=place, run_time=time, device_place=device_place)
    together = logits(bert, words, drawn)
    mask = torch.ones(len(words), LENGTH + 5, dtype=torch.long)
    mask[:, LENGTH:] = 0
    padded = torch.cat([words, torch.full((len(words), 5), 3)], dim=1)
    # Draws are the same bits; sums of float noise may differ in the last ones with the shape of the batch.
    torch.testing.assert_close(logits(bert, padded, drawn, mask=mask), together, rtol=0, atol=1e-9)
    for i in (0, 5):
        alone = logits(bert, words[i : i + 1], drawn, [i])
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-9)
    assert not torch.allclose(together, logits(bert, words, devices(IdealReader(4)))), "there is noise at all"


@pytest.mark.parametrize("place", PLACES)
def test_a_batch_of_64_is_64_batches_of_one(bert: Any, curve_reader: Any, place: Place) -> None:
    many = torch.randint(1, 50, (64, 6), generator=torch.Generator().manual_seed(2))
    drawn = devices(curve_reader(), run_place=place)
    alone = torch.cat([logits(bert, many[i : i + 1], drawn, [i]) for i in range(64)])
    torch.testing.assert_close(logits(bert, many, drawn), alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("time", TIMES)
def test_the_same_seed_draws_the_same_and_runs_differ(
    bert: Any, words: torch.Tensor, curve_reader: Any, place: Place, time: Time
) -> None:
    first, again, other = (
        logits(bert, words, devices(curve_reader(), run=run, run_place=place, run_time=time)) for run in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).any()


def read(drawn: Devices, model: Any, name: str, nominal: torch.Tensor) -> torch.Tensor:
    return drawn.for_batch(model, range(len(nominal)))[name].read(nominal)


@pytest.mark.parametrize("place", ["network", "layer", "line"])
@pytest.mark.parametrize("time", TIMES)
def test_what_a_place_and_a_time_share_is_shared_and_nothing_else(
    bert: Any, curve_reader: Any, place: Place, time: Time
) -> None:
    drawn = devices(curve_reader(run_sd=0.1), run_place=place, run_time=time)
    nominal = torch.full((3, 5, 32), 2.0, dtype=torch.float64)
    one, other = (
        read(drawn, bert, f"bert.encoder.layer.{n}.attention.output.dense.code", nominal).numpy() for n in (0, 1)
    )
    lines_alike = np.ptp(one, axis=2).max() == 0
    tokens_alike = np.ptp(one, axis=1).max() == 0
    examples_alike = np.ptp(one, axis=0).max() == 0
    sites_alike = np.array_equal(one, other)
    assert lines_alike == (place != "line")
    assert tokens_alike == (time != "token")
    assert examples_alike == (time == "run")
    assert sites_alike == (place == "network")


@pytest.mark.parametrize("place", ["network", "layer", "line"])
def test_devices_stay_through_a_run_and_are_those_of_their_place(bert: Any, curve_reader: Any, place: Place) -> None:
    still = curve_reader(run_sd=0.0, device_sd=0.05)
    assert isinstance(still, DeviceReader)
    drawn = devices(still, device_place=place)
    ends = []
    for name, site in sites(bert).items():
        table = drawn.for_batch(bert, range(4))[name].table
        assert table.shape[0] == 4 or table.shape[0] == 1
        assert (table == table[:1]).all(), "without run-to-run noise all examples meet the same device"
        lines = site.shape.heads * (site.shape.d_in or 32)
        assert table.shape[1] == (lines if place == "line" else 1)
        ends += table[0, :, -1].tolist()
    assert len(set(ends)) == {"network": 1, "layer": len(sites(bert)), "line": len(ends)}[place]
    again = devices(still, device_place=place).for_batch(bert, [9])[name].table
    assert torch.equal(again[0], table[0])


def test_device_and_run_spreads_add_up_at_the_last_level(bert: Any, curve_reader: Any) -> None:
    reader = curve_reader(run_sd=0.02, device_sd=0.05)
    ends = torch.cat(
        [device.table[:, 0, -1] for run in range(60) for device in devices(reader, run).for_batch(bert, [0]).values()]
    ) / 15  # fmt: skip
    assert float(ends.std()) == pytest.approx((0.02**2 + 0.005**2 + 0.05**2) ** 0.5, rel=0.1)


def explicit(levels: torch.Tensor, signs: torch.Tensor, modes: np.ndarray, draws: int) -> np.ndarray:
    """Sums [draw, token, out] with each synapse's own draw of its level at each token."""
    rng, top = np.random.default_rng(0), modes.shape[1] - 1
    N, B = levels.numpy(), signs.numpy()
    index, found = (top - np.abs(N)).astype(int), []
    for _ in range(draws):
        z = rng.standard_normal((*N.shape, len(B), len(modes)))  # [token, line, out, mode]
        found.append(np.einsum("tiom,tim,ti,oi->to", z, modes.T[index], np.sign(N), B))
    return np.array(found)


def test_single_synapses_add_what_explicit_sampling_adds(bert: Any, curve_reader: Any) -> None:
    name = "bert.encoder.layer.0.attention.output.dense.code"
    rng = torch.Generator().manual_seed(0)
    nominal = torch.randint(-15, 16, (1, 6, 32), generator=rng).double()
    signs = torch.randn(8, 32, generator=rng).sign().double()
    reader = curve_reader(run_sd=0.1)
    modes = 15 * reader.run_modes()
    modes[:, -1] = 0.0
    wanted = explicit(nominal[0], signs, modes, 400)
    ours = np.array([
        drawn.for_batch(bert, [0])[name].disturb(torch.zeros(1, 6, 8, dtype=torch.float64), nominal, signs)[0].numpy()
        for drawn in (devices(reader, run, run_place="synapse") for run in range(400))
    ])  # fmt: skip
    # Two sample sds of 400 draws by 8 outputs each: 1.8 % apiece.
    np.testing.assert_allclose(ours.std(axis=(0, 2)), wanted.std(axis=(0, 2)), rtol=0.08)
    assert abs(ours.mean()) < 4 * ours.std() / ours.size**0.5
    flat = ours.reshape(400, -1)
    assert np.abs(np.corrcoef(flat.T) - np.eye(48)).max() < 0.25, "outputs and tokens are independent"


def test_static_synapses_correlate_tokens_that_share_lines_as_explicit_sampling_does(
    bert: Any, curve_reader: Any
) -> None:
    name = "bert.encoder.layer.0.attention.output.dense.code"
    rng = torch.Generator().manual_seed(0)
    nominal = torch.randint(-15, 16, (1, 3, 32), generator=rng).double()
    nominal[0, 1] = nominal[0, 0]  # the same spikes
    nominal[0, 2, :16] = nominal[0, 0, :16]  # half the same
    signs = torch.randn(8, 32, generator=rng).sign().double()
    reader = curve_reader(run_sd=0.0, device_sd=0.1)
    phi = 15 * reader.device_modes()[0]
    phi[-1] = 0.0
    sums = np.array([
        drawn.for_batch(bert, [0])[name].disturb(torch.zeros(1, 3, 8, dtype=torch.float64), nominal, signs)[0].numpy()
        for drawn in (devices(reader, run, device_place="synapse") for run in range(600))
    ])  # fmt: skip
    charge = phi[(15 - nominal[0].abs()).long()] * np.sign(nominal[0].numpy())
    wanted = charge @ charge.T  # covariance over devices of one output's sums at each pair of tokens
    found = np.mean([np.cov(sums[:, :, j].T) for j in range(8)], axis=0)
    np.testing.assert_allclose(found, wanted, atol=0.08 * wanted.max())
    assert np.array_equal(sums[:, 0], sums[:, 1])
    assert 0.2 < found[0, 2] / found[0, 0] < 0.9


def test_stuck_lines_read_nothing_or_everything_at_every_level(bert: Any, curve_reader: Any) -> None:
    name = "bert.encoder.layer.0.output.dense.code"
    drawn = devices(curve_reader(run_sd=0.0), device_place="line", stuck_low=0.25, stuck_high=0.25)
    table = drawn.for_batch(bert, [0])[name].table[0]
    low, high = (table == 0).all(dim=1), (table[:, :-1] == 15).all(dim=1)
    assert 5 <= int(low.sum()) <= 20
    assert 5 <= int(high.sum()) <= 20
    assert not (low & high).any()
    assert not table[:, -1].any(), "silence reads nothing, whatever the device"
    assert torch.equal(drawn.for_batch(bert, [5])[name].table[0], table), "they are the same for every example"


def test_stuck_synapses_are_those_of_an_array_written_out(bert: Any) -> None:
    name = "bert.encoder.layer.0.attention.output.dense.code"
    rng = torch.Generator().manual_seed(0)
    nominal = torch.randint(-15, 16, (2, 3, 32), generator=rng).double()
    signs = torch.randn(32, 32, generator=rng).sign().double()
    drawn = devices(IdealReader(4), device_place="synapse", stuck_low=0.2, stuck_high=0.1)
    site = drawn.for_batch(bert, [0, 1])[name]
    found = site.disturb(nominal @ signs.T, nominal, signs)
    low, high = drawn.stuck(site.number, (32, 32))
    level = nominal[:, :, None, :].expand(-1, -1, 32, -1)  # [B, token, out, line]
    each = torch.where(low, 0.0, torch.where(high, 15 * level.sign(), level))
    assert torch.equal(found, (each * signs).sum(dim=-1))
    assert 0.1 < low.double().mean() < 0.3
    assert 0.05 < high.double().mean() < 0.15


def test_threshold_offsets_move_levels_both_ways_and_stay_with_their_neuron(bert: Any, curve_reader: Any) -> None:
    name = "bert.encoder.layer.0.output.dense.code"
    site = sites(bert)[name]
    x = (
        torch.randn(2, 50, 48, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        * float(site.alpha.detach())
        * 5
    )
    plain = site(x)
    offset = devices(curve_reader(run_sd=0.0), threshold_offset=0.5)
    site.device = offset.for_batch(bert, [0, 1])[name]
    try:
        away = (site(x) - plain) * plain.sign()
    finally:
        site.device = None
    deltas = offset.threshold_offsets(list(sites(bert)).index(name), 48, torch.float64)
    assert away.abs().max() <= 2
    moved = away.mean(dim=(0, 1))
    assert np.corrcoef(moved.detach().numpy(), -deltas.numpy())[0, 1] > 0.98


@pytest.mark.parametrize("place", ["run_place", "device_place"])
def test_noise_of_single_synapses_sends_no_gradient_of_its_own(bert: Any, curve_reader: Any, place: str) -> None:
    name = next(n for n, s in sites(bert).items() if s.shape.kind == "query")
    rng = torch.Generator().manual_seed(0)
    nominal = torch.randint(-15, 16, (2, 4, 5, 8), generator=rng).double()
    keys = torch.randn(2, 4, 5, 8, generator=rng).sign().double().requires_grad_(True)
    site = devices(curve_reader(run_sd=0.1, device_sd=0.1), **{place: "synapse"}).for_batch(bert, [0, 1])[name]
    sums = nominal @ keys.transpose(-1, -2)
    noisy = site.disturb(sums, nominal, keys)
    assert not torch.equal(noisy, sums)
    found, plain = (torch.autograd.grad(y.sum(), keys, retain_graph=True)[0] for y in (noisy, sums))
    assert torch.equal(found, plain)


def test_a_reader_without_covariances_of_its_own_is_described_by_its_draws(bert: Any, curve_reader: Any) -> None:
    class Plain:
        n_levels = 16

        def read(self, n: int, seed: tuple[int, ...]) -> Any:
            return curve_reader(run_sd=0.1).read(n, seed)

    found = devices(Plain()).run_modes(15)
    ideal = 15 * curve_reader(run_sd=0.1).run_modes()
    np.testing.assert_allclose((found.T @ found)[:-1, :-1], (ideal.T @ ideal)[:-1, :-1], atol=0.15 * 1.5**2)
    assert not found[:, -1].any(), "silence reads nothing"


def test_a_multiple_of_the_noise_is_that_multiple_of_every_deviation(bert: Any, curve_reader: Any) -> None:
    reader = curve_reader(device_sd=0.05)
    ideal = torch.arange(15.0, -1, -1, dtype=torch.float64)
    once, twice = (
        next(iter(Devices(reader, (0, 0), multiple=m).for_batch(bert, [3]).values())).table for m in (1.0, 2.0)
    )
    torch.testing.assert_close(twice - ideal, 2 * (once - ideal))


def test_no_device_stays_behind_after_use(bert: Any, words: torch.Tensor, curve_reader: Any) -> None:
    with torch.no_grad():
        before = bert(words).logits
        noisy = logits(bert, words, devices(curve_reader()))
        assert torch.equal(bert(words).logits, before)
    assert not torch.equal(noisy, before)
    assert torch.equal(logits(bert, words, devices(IdealReader(4))), before)


def test_a_reader_of_another_code_is_refused(bert: Any) -> None:
    with pytest.raises(InputError, match="found 8, expected 16 levels"):
        devices(IdealReader(3)).for_batch(bert, [0])
