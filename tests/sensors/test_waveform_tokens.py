"""What holds for both waveform modalities."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import iotlam_waveform
from iotlam.blocks.weights import load_weights, save_weights
from iotlam.contracts import BadInput, SelfSupervised, SensorFrame, TokenBatch
from iotlam.plugins import load
from iotlam_waveform.current import CurrentModality
from iotlam_waveform.encoder import CONTEXT_PATCHES, PATCH, log_energies
from iotlam_waveform.modality import HEADER, WaveformModality
from iotlam_waveform.vibration import VibrationModality

MODALITIES: dict[str, WaveformModality] = {"vibration": VibrationModality(), "current": CurrentModality()}
SPEEDS = {"vibration": ("shaft_hz", 29.5), "current": ("supply_hz", 50.0)}
IS_ORDER = HEADER.index("is_order")
both = pytest.mark.parametrize("name", MODALITIES)


def noise(name: str, count: int, *, seed: int = 0, **meta: object) -> SensorFrame:
    columns = 3 if name == "current" else 2
    data = np.random.default_rng(seed).normal(0.0, 1.0, (count, columns)).astype(np.float32)
    rate_hz = {"vibration": 20_000.0, "current": 5_000.0}[name]
    return SensorFrame(t_ns=0, data=data, meta={"sensor": "a", "rate_hz": rate_hz, **meta})


def split(frame: SensorFrame, at: int) -> list[SensorFrame]:
    late_ns = round((len(frame.data) - at) / frame.meta["rate_hz"] * 1e9)
    return [replace(frame, t_ns=frame.t_ns - late_ns, data=frame.data[:at]), replace(frame, data=frame.data[at:])]


def same(one: TokenBatch, other: TokenBatch) -> bool:
    return all(torch.equal(getattr(one, key), getattr(other, key)) for key in ("tokens_BTD", "mask_BT", "time_BT"))


@both
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_samples_become_tokens_as_promised(name: str, seed: int) -> None:
    loaded = load(name)
    batch = loaded.tokenize(loaded.sample(seed))
    assert batch.tokens_BTD.abs().max() < 8.0 and batch.mask_BT.all()
    assert batch.time_BT.max() == 0.0 and batch.time_BT.min() > -1.0
    assert batch.tokens_BTD[..., IS_ORDER].unique().tolist() == [0.0, 1.0]
    assert batch.tokens_BTD.shape[1] == loaded.tokenize(loaded.sample(seed + 9)).tokens_BTD.shape[1]


@both
def test_gradient_from_later_samples_is_exactly_zero(name: str) -> None:
    encoder = MODALITIES[name].encoder
    values_LTP = torch.randn(1, 90, PATCH, generator=torch.Generator().manual_seed(1), requires_grad=True)
    context_LTD = encoder(values_LTP)
    for patch in (0, 17, 70):
        (gradient,) = torch.autograd.grad(context_LTD[0, patch].sum(), values_LTP, retain_graph=True)
        assert gradient[0, patch + 1 :].abs().max() == 0.0
        assert gradient[0, patch].abs().max() > 0.0
        assert gradient[0, : max(patch + 1 - CONTEXT_PATCHES, 0)].abs().sum() == 0.0


@both
@pytest.mark.parametrize("known", [True, False])
def test_no_bit_of_a_token_changes_with_later_samples(name: str, known: bool) -> None:
    key, speed = SPEEDS[name]
    frame = noise(name, 8_000, **({key: speed} if known else {}))
    rate_hz, cut = frame.meta["rate_hz"], 5_000
    later = frame.data.copy()
    later[cut:] = 300.0 * np.random.default_rng(9).normal(size=later[cut:].shape) + 40.0
    later[cut + 10 : cut + 500] = np.nan
    one, other = (MODALITIES[name].tokenize([each]) for each in (frame, replace(frame, data=later)))
    before_T = one.time_BT[0] <= (cut - 1 - len(later) + 1) / rate_hz
    assert int(before_T.sum()) >= 5 and torch.equal(one.time_BT, other.time_BT)
    assert torch.equal(one.tokens_BTD[0, before_T], other.tokens_BTD[0, before_T])
    assert not torch.equal(one.tokens_BTD[0, ~before_T], other.tokens_BTD[0, ~before_T])


@both
def test_order_tokens_are_dated_by_the_end_of_the_window(name: str) -> None:
    key, speed = SPEEDS[name]
    batch = MODALITIES[name].tokenize([noise(name, 8_000, **{key: speed})])
    assert (batch.time_BT[batch.tokens_BTD[..., IS_ORDER] == 1.0] == 0.0).all()


@both
def test_frames_that_follow_each_other_are_one_stretch(name: str) -> None:
    frame = noise(name, 8_000)
    parts = split(frame, 3_111)
    jittered = [replace(parts[0], t_ns=parts[0].t_ns + 2_000_000), parts[1]]
    whole = MODALITIES[name].tokenize([frame])
    assert same(whole, MODALITIES[name].tokenize(parts)) and same(whole, MODALITIES[name].tokenize(parts[::-1]))
    assert same(whole, MODALITIES[name].tokenize(jittered))


@both
def test_a_lost_frame_is_missing_data(name: str) -> None:
    frame = noise(name, 12_000)
    first, rest = split(frame, 4_000)
    lost, last = split(rest, 4_000)
    data = frame.data.copy()
    data[4_000:8_000] = np.nan
    gap, marked = MODALITIES[name].tokenize([first, last]), MODALITIES[name].tokenize([replace(frame, data=data)])
    assert same(gap, marked) and not gap.mask_BT.all() and gap.mask_BT.any() and len(lost.data) == 4_000


@both
def test_masked_values_and_values_that_are_not_finite_do_not_matter(name: str) -> None:
    frame = noise(name, 6_000)
    mask = np.random.default_rng(1).random(frame.data.shape) > 0.2

    def spoilt(value: float) -> TokenBatch:
        return MODALITIES[name].tokenize(
            [replace(frame, data=np.where(mask, frame.data, value).astype(np.float32), mask=mask)]
        )

    nan = replace(frame, data=np.where(mask, frame.data, np.nan).astype(np.float32))
    assert same(spoilt(7.0), spoilt(np.inf)) and same(spoilt(7.0), MODALITIES[name].tokenize([nan]))
    assert not same(spoilt(7.0), MODALITIES[name].tokenize([frame]))


@both
def test_all_missing_masks_every_token(name: str) -> None:
    key, speed = SPEEDS[name]
    frame = noise(name, 6_000, **{key: speed})
    batch = MODALITIES[name].tokenize([replace(frame, data=np.full_like(frame.data, np.nan))])
    assert not batch.mask_BT.any() and batch.tokens_BTD.isfinite().all()


@both
@pytest.mark.parametrize("value", [0.0, 1e5])
def test_a_dead_or_saturated_sensor_gives_finite_tokens(name: str, value: float) -> None:
    key, speed = SPEEDS[name]
    frame = noise(name, 6_000, **{key: speed})
    batch = MODALITIES[name].tokenize([replace(frame, data=np.full_like(frame.data, value))])
    assert batch.tokens_BTD.isfinite().all() and batch.tokens_BTD.abs().max() < 8.0


@both
def test_a_long_window_costs_no_more_tokens_and_its_newest_seconds_count(name: str) -> None:
    frame = noise(name, 120_000)
    batch = MODALITIES[name].tokenize([frame])
    assert batch.tokens_BTD.shape[1] <= 4 * 64 + 12 and batch.time_BT.min() >= -4.0


@both
def test_sensors_are_encoded_apart_and_dated_by_their_age(name: str) -> None:
    frame = noise(name, 6_000)
    older = replace(frame, t_ns=frame.t_ns - 500_000_000, meta={**frame.meta, "sensor": "b"})
    alone, two = MODALITIES[name].tokenize([frame]), MODALITIES[name].tokenize([older, frame])
    count = alone.tokens_BTD.shape[1]
    assert two.tokens_BTD.shape[1] == 2 * count
    torch.testing.assert_close(two.tokens_BTD[:, :count], alone.tokens_BTD, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(two.time_BT[:, count:], alone.time_BT - 0.5, atol=1e-5, rtol=0.0)


@both
def test_level_follows_the_unit_and_the_rest_does_not(name: str) -> None:
    frame = noise(name, 6_000)
    one, ten = (MODALITIES[name].tokenize([replace(frame, data=frame.data * scale)]) for scale in (1.0, 10.0))
    wave = one.tokens_BTD[..., IS_ORDER] == 0.0
    level = HEADER.index("level")
    torch.testing.assert_close(
        ten.tokens_BTD[wave][:, level] - one.tokens_BTD[wave][:, level],
        torch.full((int(wave.sum()),), 0.5),
        atol=1e-4,
        rtol=0.0,
    )
    torch.testing.assert_close(
        ten.tokens_BTD[wave][:, level + 2 :], one.tokens_BTD[wave][:, level + 2 :], atol=1e-3, rtol=1e-3
    )


@both
@pytest.mark.parametrize("count", [0, 1, 20])
def test_too_short_a_window_is_bad_input(name: str, count: int) -> None:
    with pytest.raises(BadInput, match="expected"):
        MODALITIES[name].tokenize([noise(name, count)])


@both
def test_frames_of_two_rates_and_speeds_that_are_none_are_bad_input(name: str) -> None:
    one, other = split(noise(name, 6_000), 3_000)
    with pytest.raises(BadInput, match="one rate"):
        MODALITIES[name].tokenize([one, replace(other, meta={**other.meta, "rate_hz": 9_000.0})])
    for speed in (-1.0, np.nan, "fast", [[1.0]], []):
        with pytest.raises(BadInput, match=SPEEDS[name][0]):
            MODALITIES[name].tokenize([noise(name, 6_000, **{SPEEDS[name][0]: speed})])


@both
def test_own_weights_are_checked_by_name_shape_and_value(name: str, tmp_path: Path) -> None:
    modality = type(MODALITIES[name])
    path = Path(iotlam_waveform.__file__).parent / name / "encoder.safetensors"
    assert path.stat().st_size <= 2**20
    fresh = modality(path)  # type: ignore[call-arg]
    with torch.no_grad():
        fresh.encoder.embed.weight.mul_(1.5)
    save_weights(fresh.encoder, tmp_path / "own.safetensors")
    own = modality(tmp_path / "own.safetensors")  # type: ignore[call-arg]
    assert not same(own.tokenize(own.sample(0)), MODALITIES[name].tokenize(own.sample(0)))
    with torch.no_grad():
        fresh.encoder.embed.weight[0, 0] = float("nan")
    save_weights(fresh.encoder, tmp_path / "own.safetensors")
    with pytest.raises(BadInput, match=r"finite.*embed\.weight"):
        modality(tmp_path / "own.safetensors")  # type: ignore[call-arg]
    save_weights(fresh.encoder.embed, tmp_path / "own.safetensors")
    with pytest.raises(BadInput, match="expected"):
        load_weights(own.encoder, tmp_path / "own.safetensors")
    (tmp_path / "own.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadInput, match="safetensors"):
        load_weights(own.encoder, tmp_path / "own.safetensors")
    with pytest.raises(BadInput, match="no such file"):
        load_weights(own.encoder, tmp_path / "none.safetensors")


@both
def test_the_loss_reaches_every_weight_and_is_drawn_by_its_seed(name: str) -> None:
    modality = MODALITIES[name]
    encoder = modality.encoder
    assert isinstance(encoder, SelfSupervised)
    windows = [modality.sample(seed) for seed in range(3)]
    loss = encoder.self_supervised_loss(windows, 5)
    gradients = torch.autograd.grad(loss, list(encoder.parameters()))
    assert all(gradient.abs().max() > 0.0 for gradient in gradients)
    assert float(loss.detach()) == float(encoder.self_supervised_loss(windows, 5).detach())
    assert float(loss.detach()) != float(encoder.self_supervised_loss(windows, 6).detach())


@both
def test_the_shipped_encoder_beats_simple_predictors_on_samples_it_never_saw(name: str) -> None:
    modality = MODALITIES[name]
    learnt = [modality.sample(seed) for seed in range(120)]
    unseen = [modality.sample(2_000_000 + seed) for seed in range(60)]
    with torch.no_grad():
        own = float(modality.encoder.self_supervised_loss(unseen, 0))
    rivals = modality.encoder.rival_losses(learnt, unseen, 0)
    assert rivals.keys() == {"mean", "repeat", "linear"} and own < min(rivals.values()) - 0.01, (own, rivals)


def test_rivals_know_what_they_can_of_white_noise() -> None:
    modality = MODALITIES["vibration"]
    white = [[noise("vibration", 20_000, seed=seed)] for seed in range(40)]
    rivals = modality.encoder.rival_losses(white[:20], white[20:], 0)
    # Repeating a number that is drawn anew each time is off by sqrt(2): half the logarithm of 2 worse, in nats.
    assert rivals["repeat"] - rivals["mean"] == pytest.approx(0.5 * np.log(2.0), abs=0.04)
    assert rivals["linear"] < rivals["mean"] + 0.06


def test_energies_of_white_noise_and_of_silence() -> None:
    white_LTP = torch.randn(1, 4_000, PATCH, generator=torch.Generator().manual_seed(0))
    energies_LTK = log_energies(white_LTP)
    assert energies_LTK.exp().mean((0, 1)).tolist() == pytest.approx([1.0] * 8, abs=0.05)
    assert log_energies(torch.zeros(1, 1, PATCH)).max() < -9.0
