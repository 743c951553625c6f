"""Shared attention: every place looks at the tokens near it, whatever the sensor, whatever the junction.

Shapes: B windows, T tokens, K places, H heads (one anchor of each place per head), D fused width,
E = D / H width of a head, M modalities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from iotlam.contracts import TokenSpec

MIN_SIGMA_M = 0.5
MAX_LOGIT = 10.0
LOG2_E = 1.0 / math.log(2.0)
SPREAD_GAIN = 100.0
PAIR_GAIN = 1.75
START_SINK = 4.0  # near-linear in the first few tokens


class Looked(NamedTuple):
    """Tokens as the attention takes them.

    Attributes:
        tokens_BTD: bottlenecked tokens.
        mask_BT: bool, False marks padding.
        signal_BT: share of each token that is signal, 0 to 1: as much as it counts; a shut token is an absent one.
        time_BT: seconds.
        position_BTX: metres, None where the modality has none.
    """

    tokens_BTD: Tensor
    mask_BT: Tensor
    signal_BT: Tensor
    time_BT: Tensor
    position_BTX: Tensor | None


class PlaceLatents(NamedTuple):
    """Latents of the places, together and by modality, with the attention where it was asked for."""

    latents_BKD: Tensor
    by_modality: dict[str, Tensor]
    attention: dict[str, Tensor]


class ModalityAdaptor(nn.Module):
    """Brings the tokens of one modality to the shared width and says how far each head can see.

    A linear path goes past the GELU: what a modality says then reaches the pairs with its sign and scale as they were,
    which they need in order to start learning at all (docs/adr/0005).
    """

    def __init__(self, dim: int, d_fusion: int, n_heads: int, sigma_m: float, along: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.inner = nn.Linear(dim, d_fusion)
        # With one learned query per head, q_h . (W_k x) is one linear functional of x: it is learned
        # directly, in the last H columns, and its bias is the head's constant for this modality.
        self.outer = nn.Linear(d_fusion, d_fusion + n_heads)
        self.direct = nn.Linear(dim, d_fusion, bias=False)
        self.recency_H = nn.Parameter(torch.zeros(n_heads))
        self.sigma_raw_H = nn.Parameter(torch.full((n_heads,), math.log(math.expm1(sigma_m - MIN_SIGMA_M))))
        self.along_raw_H = nn.Parameter(torch.full((n_heads,), math.log(math.expm1(along)))) if along else None

    def forward(self, looked: Looked) -> tuple[Tensor, Tensor]:
        """Values (B, H, T, E) and content weights exp(logit) (B, H, T), zero for masked tokens."""
        values_BTD, logit_BTH = self.outer(nn.functional.gelu(self.inner(looked.tokens_BTD))).split(
            [self.outer.out_features - self.n_heads, self.n_heads], dim=-1
        )
        time_BT = looked.time_BT.masked_fill(~looked.mask_BT, 0.0)
        logit_BTH = MAX_LOGIT * torch.tanh((logit_BTH + self.recency_H * time_BT[..., None]) / MAX_LOGIT)
        weight_BTH = logit_BTH.exp().masked_fill(~looked.mask_BT[..., None], 0.0) * looked.signal_BT[..., None]
        values_BTD = values_BTD + self.direct(looked.tokens_BTD)
        values_BHTE = values_BTD.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
        return values_BHTE, weight_BTH.transpose(1, 2)

    def nearness(self, position_BTX: Tensor, mask_BT: Tensor, anchors_BKHX: Tensor) -> Tensor:
        """How near each token is to each anchor, 0 to 1, shape (B, H, K, T).

        A Gaussian of the distance to the anchor. Where heads look along their place, it is one of the distance across
        the place times one of the way along it, which is wider by a share of the way to the next anchors: the heads
        of a place then leave no gap between them, and see little of the place beside it (docs/adr/0010).
        """
        position_BTX = position_BTX.masked_fill(~mask_BT[..., None], 0.0)
        sigma_H11 = (MIN_SIGMA_M + nn.functional.softplus(self.sigma_raw_H))[:, None, None]
        if self.along_raw_H is None:
            return _gaussian(_squares(position_BTX, anchors_BKHX), sigma_H11.square())
        along = _along(position_BTX, anchors_BKHX)
        at_BHK1, spacing_BHK1 = (each.transpose(1, 2)[..., None] for each in (along.at_BKH, along.spacing_BKH))
        reach_BHK1 = nn.functional.softplus(self.along_raw_H)[:, None, None] * spacing_BHK1
        way_BHKT = (along.way_BKT[:, None] - at_BHK1).square_()
        sideways_BHKT = along.across_BKT[:, None] * (1.0 + (reach_BHK1 / sigma_H11).square())
        return _gaussian(way_BHKT + sideways_BHKT, sigma_H11.square() + reach_BHK1.square())


class Along(NamedTuple):
    """Where tokens lie along places, the curves through their anchors; metres.

    Attributes:
        way_BKT: from the first anchor to the point of the curve that is nearest to the token, along the curve.
        across_BKT: squared distance to that point.
        at_BKH: from the first anchor to each, along the curve.
        spacing_BKH: mean distance of an anchor to those beside it.
    """

    way_BKT: Tensor
    across_BKT: Tensor
    at_BKH: Tensor
    spacing_BKH: Tensor


@torch.no_grad()
def _along(position_BTX: Tensor, anchors_BKHX: Tensor) -> Along:
    step_BKSX = anchors_BKHX.diff(dim=2)
    length_BKS = step_BKSX.norm(dim=-1)
    unit_BKSX = step_BKSX / length_BKS.clamp_min(1e-6)[..., None]
    at_BKH = nn.functional.pad(length_BKS.cumsum(-1), (1, 0))
    across_BKT = position_BTX.new_full((*anchors_BKHX.shape[:2], position_BTX.shape[1]), torch.inf)
    way_BKT = torch.zeros_like(across_BKT)
    for s in range(length_BKS.shape[2]):  # piece by piece: all at once would be as many times the memory
        x_BKT, y_BKT = (position_BTX[:, None, :, i] - anchors_BKHX[:, :, s, i, None] for i in (0, 1))
        x_BK1, y_BK1 = unit_BKSX[:, :, s, None].unbind(-1)
        on_BKT = torch.minimum((x_BKT * x_BK1).addcmul_(y_BKT, y_BK1).clamp_min_(0.0), length_BKS[:, :, s, None])
        square_BKT = (x_BKT - on_BKT * x_BK1).square_() + (y_BKT - on_BKT * y_BK1).square_()
        way_BKT = torch.where(square_BKT < across_BKT, on_BKT + at_BKH[:, :, s, None], way_BKT)
        across_BKT = torch.minimum(across_BKT, square_BKT)
    before_BKH, after_BKH = (nn.functional.pad(length_BKS, side) for side in ((1, 0), (0, 1)))
    beside_H = torch.full_like(at_BKH[0, 0], 2.0)
    beside_H[[0, -1]] = 1.0
    return Along(way_BKT, across_BKT, at_BKH, (before_BKH + after_BKH) / beside_H)


def _squares(position_BTX: Tensor, anchors_BKHX: Tensor) -> Tensor:
    """Squared distances (B, H, K, T)."""
    with torch.no_grad():  # differences, not |p|^2 - 2 p.a + |a|^2: that loses digits far from the origin
        anchors_BHKX = anchors_BKHX.transpose(1, 2)
        x_BHKT, y_BHKT = (anchors_BHKX[..., None, i] - position_BTX[:, None, None, :, i] for i in (0, 1))
        return x_BHKT.square_().addcmul_(y_BHKT, y_BHKT)


def _gaussian(square: Tensor, variance: Tensor) -> Tensor:
    """exp(-square / (2 variance))."""
    # Ten deviations away is as good as nowhere; beyond lie denormal numbers, which are slow.
    square = torch.minimum(square, 100.0 * variance.detach())
    # exp2, since torch's exp takes 20 to 30 times as long on a CPU with MKL.
    return torch.exp2(square * (-0.5 * LOG2_E / variance))


class PairTerm(nn.Module):
    """What each modality says by itself, and what two say together and neither says alone.

    sum_m p_m + sum_{m<n} p_m p_n = sum_m p_m + ((sum_m p_m)^2 - sum_m p_m^2) / 2 with p_m = W latent_m (a
    factorisation machine of low rank: Rendle, 2010; Kim et al., 2017). A modality that says nothing has p = 0, so that
    its pairs vanish; without the linear term, whatever is constant would be let in as its substitute. p is bounded to
    p / sqrt(1 + mean p^2): a product of two large things would drown what each says by itself.
    """

    def __init__(self, d_fusion: int, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d_fusion, width, bias=False)
        self.outer = nn.Linear(width, d_fusion, bias=False)
        # A product of two small things starts at a saddle; at torch's own scale it takes thousands of steps to leave.
        for linear in (self.inner, self.outer):
            nn.init.normal_(linear.weight, std=PAIR_GAIN / linear.in_features**0.5)

    def forward(self, stack_BKMD: Tensor) -> Tensor:
        """Latents (B, K, D) to add to the mixture; a modality that says nothing comes as zeros (B, K, M, D)."""
        p_BKMW = self.inner(stack_BKMD)
        p_BKMW = p_BKMW * torch.rsqrt(1.0 + p_BKMW.square().mean(-1, keepdim=True))
        sum_BKW = p_BKMW.sum(2)
        latents_BKD: Tensor = self.outer(sum_BKW + 0.5 * (sum_BKW.square() - p_BKMW.square().sum(2)))
        return latents_BKD


class PlaceAttention(nn.Module):
    """K places attend to the tokens of M modalities; a missing modality contributes nothing.

    Head h of place k attends to token t of modality m with
        w = exp(q_h . k_t) exp(-|p_t - anchor_kh|^2 / (2 sigma_hm^2)),
    normalised as a density, w / (sink_h + sum_t w): no token nearby leaves zeros, and there is no
    normalisation that would hide how much there is. log(1 + sum w / sink) goes along, as the count, and how much the
    values differ, which tells a sensor that is stuck from one that is steady.
    All parameters are shared by all places, so that any number of any junction's can be asked about.
    The modalities are then weighted by a masked softmax per place, and what only two of them together can say is added.
    """

    def __init__(
        self, specs: Sequence[TokenSpec], d_fusion: int, n_heads: int, sigma_m: float, pair_width: int, along: float
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.adaptors = nn.ModuleDict(
            {spec.modality: ModalityAdaptor(spec.dim, d_fusion, n_heads, sigma_m, along) for spec in specs}
        )
        self.sink_raw_H = nn.Parameter(torch.full((n_heads,), math.log(START_SINK)))
        self.merge_heads = nn.Linear(d_fusion + 2 * n_heads, d_fusion)
        self.scores = nn.ModuleDict({spec.modality: nn.Linear(d_fusion, 1) for spec in specs})
        self.pairs = PairTerm(d_fusion, pair_width)
        self.residual = nn.Sequential(nn.Linear(d_fusion, d_fusion // 2), nn.GELU(), nn.Linear(d_fusion // 2, d_fusion))

    def forward(
        self, looked: Mapping[str, Looked], anchors_BKHX: Tensor, place_mask_BK: Tensor, with_attention: bool = False
    ) -> PlaceLatents:
        """Latents (B, K, D); zero for padded places. `looked` may hold any subset of the modalities."""
        anchors_BKHX = anchors_BKHX.masked_fill(~place_mask_BK[..., None, None], 0.0)
        by_modality: dict[str, Tensor] = {}
        attention: dict[str, Tensor] = {}
        for name, tokens in looked.items():
            values_BHTE, weight_BHT = self.adaptors[name](tokens)
            near_BHKT = self._nearness(name, tokens, anchors_BKHX)
            by_modality[name], total_BHK = self._gather(values_BHTE, weight_BHT, near_BHKT)
            if with_attention:
                dense_BHKT = near_BHKT * weight_BHT[:, :, None]
                attention[name] = dense_BHKT / (self._sink_H11 + total_BHK[..., None])
        mixed_BKD = anchors_BKHX.new_zeros(*place_mask_BK.shape, self.merge_heads.out_features)
        if by_modality:
            mixed_BKD = self._mix(by_modality, {name: tokens.mask_BT.any(-1) for name, tokens in looked.items()})
        latents_BKD = mixed_BKD + self.residual(mixed_BKD)
        return PlaceLatents(latents_BKD * place_mask_BK[..., None], by_modality, attention)

    @property
    def _sink_H11(self) -> Tensor:
        return self.sink_raw_H.exp()[:, None, None]

    def _nearness(self, name: str, tokens: Looked, anchors_BKHX: Tensor) -> Tensor:
        if tokens.position_BTX is None:
            batch, places, heads = anchors_BKHX.shape[:3]
            return anchors_BKHX.new_ones(()).expand(batch, heads, places, tokens.mask_BT.shape[1])
        adaptor = self.adaptors[name]
        assert isinstance(adaptor, ModalityAdaptor)
        return adaptor.nearness(tokens.position_BTX, tokens.mask_BT, anchors_BKHX)

    def _gather(self, values_BHTE: Tensor, weight_BHT: Tensor, near_BHKT: Tensor) -> tuple[Tensor, Tensor]:
        """Density attention of one modality: its latents (B, K, D) and the unnormalised totals (B, H, K).

        The content weight does not depend on the place, so it goes into the values, and one matrix
        product gives weighted sum, sum of squares and total without a (B, H, K, T, E) tensor.
        """
        weight_BHT1 = weight_BHT[..., None]
        square_BHT1 = values_BHTE.square().mean(-1, keepdim=True)
        columns_BHTX = torch.cat([values_BHTE, square_BHT1, torch.ones_like(square_BHT1)], dim=-1) * weight_BHT1
        sum_BHKE, square_BHK1, total_BHK1 = torch.split(near_BHKT @ columns_BHTX, [values_BHTE.shape[-1], 1, 1], dim=-1)
        mean_BHKE, count_BHK1 = sum_BHKE / (self._sink_H11 + total_BHK1), torch.log1p(total_BHK1 / self._sink_H11)
        spread_BHK1 = _spread(sum_BHKE, square_BHK1, total_BHK1, self._sink_H11)
        heads_BKHX = torch.cat([mean_BHKE, count_BHK1, spread_BHK1], dim=-1).transpose(1, 2)
        latents_BKD: Tensor = self.merge_heads(heads_BKHX.flatten(-2))
        return latents_BKD, total_BHK1[..., 0]

    def _mix(self, by_modality: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Weight the modalities by a softmax per place, add the pairs; where none is present the sum is zero."""
        stack_BKMD = torch.stack(list(by_modality.values()), dim=2)
        score_BKM = torch.cat([self.scores[name](latents) for name, latents in by_modality.items()], dim=-1)
        present_B1M = torch.stack([present[name] for name in by_modality], dim=-1)[:, None]
        share_BKM = score_BKM.masked_fill(~present_B1M, -1e4).softmax(-1) * present_B1M
        # Even shares weigh 1 in a pair; a modality that is not trusted leaves its pairs too, and one that sees no token
        # at a place, or none that is open, says nothing there: its latent is the bias.
        weight_BKM1 = (present_B1M.sum(-1, keepdim=True) * share_BKM)[..., None]
        pairs_BKD: Tensor = self.pairs(weight_BKM1 * (stack_BKMD - self.merge_heads.bias))
        return (share_BKM[..., None] * stack_BKMD).sum(2) + pairs_BKD


def _spread(sum_BHKE: Tensor, square_BHK1: Tensor, total_BHK1: Tensor, sink_H11: Tensor) -> Tensor:
    """How much the values that a head sees differ, log(1 + 100 variance): 0 for a sensor that repeats itself.

    The sink weighs the variance down as it does the square of the mean, so that it fades with the tokens; (B, H, K, 1).
    """
    least_BHK1 = total_BHK1.clamp_min(1e-6)
    variance_BHK1 = square_BHK1 / least_BHK1 - (sum_BHKE / least_BHK1).square().mean(-1, keepdim=True)
    seen_BHK1 = total_BHK1 / (sink_H11 + total_BHK1)
    return torch.log1p(SPREAD_GAIN * seen_BHK1.square() * variance_BHK1.clamp_min(0.0))
