"""The tests of attributions, on a model whose truth is known: it adds up the first feature of tokens that say so."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from iotlam.contracts import TokenBatch, TokenSpec
from iotlam.fusion import BottleneckFusion, FusionConfig, sanity

COUNT, TOKENS = 64, 10


def _batches(seed: int = 0) -> dict[str, TokenBatch]:
    """In each modality, tokens whose second feature is 1 carry +-1 in the first; all others carry nothing."""
    draw = torch.Generator().manual_seed(seed)
    sign = torch.randint(0, 2, (COUNT, 1), generator=draw) * 2.0 - 1.0
    batches = {}
    for name in ("a", "b"):
        marked = (torch.rand(COUNT, TOKENS, generator=draw).argsort(1) < 2).float()
        tokens = torch.stack([marked * sign, marked, torch.randn(COUNT, TOKENS, generator=draw)], -1)
        mask = torch.ones(COUNT, TOKENS, dtype=torch.bool)
        mask[:, -1] = marked[:, -1] > 0
        batches[name] = TokenBatch(tokens, mask, torch.zeros(COUNT, TOKENS), name)
    return batches


def _predict(batches: sanity.Batches) -> Tensor:
    total = torch.stack([(b.tokens_BTD[..., 0] * b.tokens_BTD[..., 1] * b.mask_BT).sum(1) for b in batches.values()])
    return torch.stack([-2.0 * total.sum(0), 2.0 * total.sum(0)], 1)


def _truth(batches: sanity.Batches) -> dict[str, Tensor]:
    return {name: batch.tokens_BTD[..., 1] for name, batch in batches.items()}


def test_the_true_attribution_deletes_fastest_and_inserts_fastest() -> None:
    batches = _batches()
    wrong = {name: -score for name, score in _truth(batches).items()}
    scores = [_truth(batches), sanity.random_scores(batches), wrong]
    deleted = [sanity.deletion(_predict, batches, score).area for score in scores]
    inserted = [sanity.insertion(_predict, batches, score).area for score in scores]
    assert deleted == sorted(deleted) and inserted == sorted(inserted, reverse=True)
    curve = sanity.deletion(_predict, batches, scores[0])
    assert curve.value_N[0] > 0.99 and curve.value_N[-1] == pytest.approx(0.5)
    assert sanity.insertion(_predict, batches, scores[0]).value_N[-1] == pytest.approx(curve.value_N[0])


@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_top_fraction_takes_the_highest_valid_tokens_over_all_modalities(seed: int, fraction: float) -> None:
    batches = _batches(1)
    scores = sanity.random_scores(batches, seed)
    chosen = sanity.top_fraction(batches, scores, fraction)
    valid, taken, score = (
        torch.cat(parts, 1)
        for parts in ([b.mask_BT for b in batches.values()], list(chosen.values()), list(scores.values()))
    )
    assert not (taken & ~valid).any()
    assert torch.equal(taken.sum(1), (fraction * valid.sum(1, keepdim=True)).round().long()[:, 0])
    least = score.masked_fill(~taken, 2.0).amin(1)
    assert (score.masked_fill(taken | ~valid, -1.0).amax(1) <= least).all()


def test_removed_tokens_are_masked_and_the_rest_stays() -> None:
    batches = _batches()
    chosen = {name: score > 0 for name, score in _truth(batches).items()}
    for name, batch in sanity.remove(batches, chosen).items():
        assert torch.equal(batch.mask_BT, batches[name].mask_BT & ~chosen[name])
        assert batch.tokens_BTD is batches[name].tokens_BTD


def test_noise_has_the_moments_of_the_modality_and_touches_only_the_chosen() -> None:
    batch = _batches()["a"]
    chosen = {"a": torch.rand(COUNT, TOKENS) < 0.7}
    noisy = sanity.replace_by_noise({"a": batch}, chosen, seed=3)["a"]
    assert torch.equal(noisy.tokens_BTD[~chosen["a"]], batch.tokens_BTD[~chosen["a"]])
    got, want = noisy.tokens_BTD[chosen["a"]], batch.tokens_BTD[batch.mask_BT]
    torch.testing.assert_close(got.mean(0), want.mean(0), rtol=0, atol=0.15)
    torch.testing.assert_close(got.std(0), want.std(0), rtol=0.15, atol=0.0)


def test_retraining_without_the_true_tokens_leaves_chance_without_random_ones_does_not() -> None:
    train, test = _batches(1), _batches(2)

    def features(batches: sanity.Batches) -> tuple[Tensor, Tensor]:
        x = torch.stack([(b.tokens_BTD * b.mask_BT[..., None]).sum(1) for b in batches.values()]).sum(0)
        return x, torch.ones(COUNT, 1)

    def fit(prune: sanity.Prune) -> float:  # least squares on what is left
        label = {id(part): _predict(part).argmax(1) * 2.0 - 1.0 for part in (train, test)}
        x, one = features(prune(train))
        weight = torch.linalg.lstsq(torch.cat([x, one], 1), label[id(train)][:, None]).solution
        x, one = features(prune(test))
        return float(((torch.cat([x, one], 1) @ weight)[:, 0].sign() == label[id(test)]).float().mean())

    true = sanity.remove_and_retrain(fit, _truth, (0.0, 0.3))
    chance = sanity.remove_and_retrain(fit, sanity.random_scores, (0.0, 0.3))
    assert true.value_N[0] == chance.value_N[0] == 1.0
    assert true.value_N[1] < 0.7 and chance.value_N[1] > 0.9


def test_zero_bits_behind_a_shut_gate_do_not_matter_and_open_ones_do() -> None:
    torch.manual_seed(0)
    specs = (TokenSpec("a", 3, 50), TokenSpec("b", 3, 50))
    fusion = BottleneckFusion(specs, FusionConfig(d_fusion=8, n_anchors=2)).eval()

    place = torch.zeros(COUNT, 1, 2, 2), torch.ones(COUNT, 1, dtype=torch.bool)

    def predict(batches: sanity.Batches) -> Tensor:
        latents: Tensor = fusion(batches, *place).latents_BKD
        return latents[:, 0]

    assert sanity.zero_bit_change(fusion, predict, _batches()) == 0.0  # open: no token below the threshold
    assert sanity.zero_bit_change(fusion, predict, _batches(), threshold_bits=1e9) > 0.05
    nn.init.constant_(fusion.gates["b"].get_submodule("outer").bias, -6.0)
    assert sanity.zero_bit_change(fusion, predict, _batches()) < 0.01


def test_an_attribution_that_ignores_the_model_survives_randomisation_and_one_that_reads_it_does_not() -> None:
    model, batches = nn.Linear(3, 1), _batches()

    def read(model: nn.Module, batches: sanity.Batches) -> dict[str, Tensor]:
        return {name: model(batch.tokens_BTD)[..., 0] for name, batch in batches.items()}

    reads = sanity.randomisation_correlation(model, read, batches)
    ignores = sanity.randomisation_correlation(model, lambda _, b: _truth(b), batches)
    assert ignores == pytest.approx(1.0)
    assert abs(reads) < 0.99
    assert sanity.randomised(model, 1).weight.ne(model.weight).all()


def test_rank_correlation_and_auroc_have_their_known_values() -> None:
    assert sanity.spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    assert sanity.spearman(np.array([1.0, 1.0, 2.0]), np.array([5.0, 5.0, 9.0])) == pytest.approx(1.0)
    assert sanity.spearman(np.ones(3), np.arange(3.0)) == 0.0
    truth = np.array([True, False, True, False])
    assert sanity.auroc(np.array([3.0, 1.0, 2.0, 2.0]), truth) == pytest.approx(0.875)
    assert sanity.auroc(np.zeros(4), truth) == pytest.approx(0.5)
    assert np.isnan(sanity.auroc(np.zeros(2), np.array([True, True])))
