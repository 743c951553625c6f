import torch

from iotlam.fusion import Whitening


def _valid(rows: int) -> torch.Tensor:
    return torch.ones(1, rows, dtype=torch.bool)


def test_batches_merge_to_the_moments_of_the_whole() -> None:
    data_ND = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 50.0, 0.2]) + 7.0
    whitening = Whitening(3).train()
    for part in data_ND.split([1, 7, 200, 292]):
        whitening(part[None], _valid(len(part)))
    assert int(whitening.count) == 500
    torch.testing.assert_close(whitening.mean_D, data_ND.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(whitening.var_D, data_ND.var(0, correction=0), rtol=1e-4, atol=1e-6)


def test_masked_tokens_count_for_nothing_whatever_they_hold() -> None:
    tokens = torch.tensor([[[1.0], [3.0], [float("nan")]]])
    mask = torch.tensor([[True, True, False]])
    whitening = Whitening(1).train()
    white = whitening(tokens, mask)
    assert float(whitening.mean_D) == 2.0
    assert float(whitening.var_D) == 1.0
    assert white.flatten().tolist() == [-1.0, 1.0, 0.0]


def test_moments_stay_in_eval_mode_and_after_freezing() -> None:
    whitening = Whitening(2)
    whitening.eval()(torch.ones(1, 4, 2), _valid(4))
    assert int(whitening.count) == 0
    whitening.train().freeze()
    whitening(torch.ones(1, 4, 2), _valid(4))
    assert int(whitening.count) == 0
    restored = Whitening(2).train()
    restored.load_state_dict(whitening.state_dict())
    restored(torch.ones(1, 4, 2), _valid(4))
    assert int(restored.count) == 0


def test_dead_features_and_outliers_stay_bounded() -> None:
    whitening = Whitening(1).train()
    whitening(torch.full((1, 50, 1), 3.0), _valid(50))
    white = whitening.eval()(torch.tensor([[[3.0], [1e9]]]), _valid(2))
    assert white.flatten().tolist() == [0.0, 10.0]
