"""The model: fused places and candidates as tokens of a causal decoder, which scores the candidates or writes text.

Shapes: B queries, K places, P candidates, S = K + P positions, D width (of a latent or of the decoder), L entries of
text, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from iotlam.contracts import BadInput, DecisionQuery, FramesByModality, TokenBatch
from iotlam.decoder import (
    Allowed,
    CandidateHead,
    ValueHead,
    add_lora,
    build_decoder,
    decoder_sha256,
    project,
    write,
)
from iotlam.fusion import BottleneckFusion, FusionOutput
from iotlam.model.config import IotlamConfig
from iotlam.model.processor import Example, IotlamProcessor, ModelInput, collate


@dataclass(frozen=True, slots=True)
class Decision:
    """What the model says of the candidates of B queries.

    Attributes:
        logits_BP: scores, -inf for candidates that are not allowed; `choose` takes one of them, `classify` any number.
        value_B: value of the state.
        bits: by modality (B, T), bits carried by each token: the attribution.
        latents_BKD: latents of the places.
        rate_bits: scalar, mean bits per token.
        cross_nats: scalar, mean cross-modal negative log-likelihood per place; 0 without gradients.
        facts_BKF: what is told of each place, in the units in which it was taught; None for a model that tells nothing.
    """

    logits_BP: Tensor
    value_B: Tensor
    bits: dict[str, Tensor]
    latents_BKD: Tensor
    rate_bits: Tensor
    cross_nats: Tensor
    facts_BKF: Tensor | None


@dataclass(frozen=True, slots=True)
class Wording:
    """How likely the model holds texts about B queries.

    Attributes:
        logits_BLV: scores of the entry that follows each entry of the text.
        bits: by modality (B, T), bits carried by each token: the attribution.
        rate_bits: scalar, mean bits per token.
        cross_nats: scalar, mean cross-modal negative log-likelihood per place; 0 without gradients.
    """

    logits_BLV: Tensor
    bits: dict[str, Tensor]
    rate_bits: Tensor
    cross_nats: Tensor


@dataclass(frozen=True, slots=True)
class Told:
    """What the model tells of the places of B queries; attributes as those of `Decision`."""

    facts_BKF: Tensor
    rate_bits: Tensor
    cross_nats: Tensor


class Share(NamedTuple):
    """Parameters that training changes, and all of them."""

    trainable: int
    total: int

    @property
    def ratio(self) -> float:
        """Trainable over total, 0 to 1."""
        return self.trainable / self.total


class Projector(nn.Module):
    """Latents to embeddings of the root mean square that the decoder's own embeddings have."""

    def __init__(self, d_fusion: int, n_features: int, hidden: int, rms: float) -> None:
        super().__init__()
        self.concerned = nn.Linear(d_fusion, hidden, bias=False)
        self.others = nn.Linear(d_fusion, hidden, bias=False)
        self.features = nn.Linear(n_features, hidden, bias=False)
        self.type_2D = nn.Parameter(torch.randn(2, hidden) / hidden**0.5)
        self.gain = nn.Parameter(torch.tensor(rms))

    def places(self, latents_BKD: Tensor) -> Tensor:
        """Place tokens (B, K, hidden)."""
        return self._scale(self.concerned(latents_BKD) + self.type_2D[0])

    def candidates(self, latents_BKD: Tensor, inputs: ModelInput) -> Tensor:
        """Candidate tokens (B, P, hidden): what each serves, the mean of what it does not, and its features.

        A candidate has no identity of its own; the phases of a junction never seen are described alike.
        """
        other_BPK = (1.0 - inputs.serves_BPK) * inputs.place_mask_BK[:, None]
        other_BPK = other_BPK / other_BPK.sum(-1, keepdim=True).clamp_min(1.0)
        tokens_BPD = self.concerned(inputs.serves_BPK @ latents_BKD) + self.others(other_BPK @ latents_BKD)
        return self._scale(tokens_BPD + self.features(inputs.features_BPF) + self.type_2D[1])

    def _scale(self, x: Tensor) -> Tensor:
        return nn.functional.rms_norm(x, x.shape[-1:]) * self.gain


class Facts(nn.Module):
    """What the latents tell of each place: F numbers that a teacher knows, each whitened by its moments.

    A choice says little of what made it. Facts say at every place what was there to be seen (docs/adr/0010).
    """

    mean_F: Tensor
    std_F: Tensor

    def __init__(self, d_fusion: int, n_facts: int) -> None:
        super().__init__()
        self.read = nn.Linear(d_fusion, n_facts)
        self.register_buffer("mean_F", torch.zeros(n_facts))
        self.register_buffer("std_F", torch.ones(n_facts))

    def forward(self, latents_BKD: Tensor) -> Tensor:
        """The facts (B, K, F), in their own units."""
        facts_BKF: Tensor = self.read(latents_BKD) * self.std_F + self.mean_F
        return facts_BKF

    def error(self, told_BKF: Tensor, facts_BKF: Tensor, mask_BK: Tensor) -> Tensor:
        """Mean squared error in units of the facts' variance, over the places that are there."""
        error_BKF = ((told_BKF - facts_BKF) / self.std_F).square()
        return error_BKF.mean(-1)[mask_BK].mean()


class IotlamModel(nn.Module):
    """Tokens of any subset of the modalities, and any number of candidates, to a choice among them."""

    def __init__(self, config: IotlamConfig, seed: int = 0) -> None:
        """Build the model with pretrained decoder weights and everything else drawn from `seed`.

        Raises:
            BadInput: if the decoder's weights are missing, or not those that the configuration names.
        """
        super().__init__()
        decoder = build_decoder(config.decoder)
        self.config = config
        self.base_sha256 = decoder_sha256(decoder)
        if config.decoder_sha256 not in ("", self.base_sha256):
            raise BadInput(
                f"Decoder '{config.decoder}'",
                expected=f"base weights {config.decoder_sha256[:12]}",
                got=self.base_sha256[:12],
                fix="restore the decoder that the model was trained on, or train again",
            )
        embedding_VD = decoder.get_input_embeddings().weight
        assert isinstance(embedding_VD, Tensor)
        hidden, rms = embedding_VD.shape[1], float(embedding_VD.detach().square().mean().sqrt())
        self.decoder = add_lora(decoder, config.lora_rank, config.lora_alpha, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fusion = BottleneckFusion(config.modalities, config.fusion)
            self.projector = Projector(config.fusion.d_fusion, config.n_features, hidden, rms)
            self.facts = Facts(config.fusion.d_fusion, config.n_facts) if config.n_facts else None
            if config.head != "write":  # the decoder's own head writes
                self.head = CandidateHead(hidden, config.head_width)
                self.value = ValueHead(hidden, config.head_width)

    def forward(self, inputs: ModelInput) -> Decision:
        """Score the candidates of B queries.

        Raises:
            BadInput: if the inputs do not fit the configuration.
        """
        self._check(inputs, writes=False)
        fused, embeds_BSD, mask_BS = self._read(inputs)
        hidden_BPD = self._decode(embeds_BSD, mask_BS)[:, inputs.place_mask_BK.shape[1] :]
        logits_BP = project(self.head(hidden_BPD), inputs.allowed_BP)
        value_B = self.value(hidden_BPD, inputs.candidate_mask_BP)
        facts_BKF = self.facts(fused.latents_BKD) if self.facts else None
        return Decision(logits_BP, value_B, fused.bits, fused.latents_BKD, fused.rate_bits, fused.cross_nats, facts_BKF)

    def tell(self, inputs: ModelInput) -> Told:
        """Tell the facts of B queries, without running the decoder.

        Raises:
            BadInput: for a model that tells nothing.
        """
        if self.facts is None:
            raise BadInput("A model with n_facts=0", expected="facts", got="none", fix="configure it with n_facts")
        fused = self._fuse(inputs)
        return Told(self.facts(fused.latents_BKD), fused.rate_bits, fused.cross_nats)

    def spell(self, inputs: ModelInput, text_BL: Tensor) -> Wording:
        """Score texts about B queries, entry after entry, for a model with `head="write"` (teacher forcing).

        Args:
            inputs: the queries.
            text_BL: entries of the decoder's vocabulary, padded on the right with anything.

        Raises:
            BadInput: if the inputs do not fit the configuration.
        """
        self._check(inputs, writes=True)
        fused, embeds_BSD, mask_BS = self._read(inputs)
        embeds_BSD = torch.cat([embeds_BSD, self._embed(text_BL)], dim=1)
        mask_BS = torch.cat([mask_BS, torch.ones_like(text_BL, dtype=torch.bool)], dim=1)
        output = self.decoder(
            inputs_embeds=embeds_BSD, attention_mask=mask_BS.long(), position_ids=_positions(mask_BS), use_cache=False
        )
        return Wording(output.logits[:, -text_BL.shape[1] :], fused.bits, fused.rate_bits, fused.cross_nats)

    def information_loss(self, decision: Decision | Wording | Told, price: float = 1.0) -> Tensor:
        """What to add to the loss of the task: price x beta x rate + gamma x cross-modal negative log-likelihood.

        `price` is what a `RateSchedule` of peak 1 says at a step of training.
        The likelihood is computed where gradients are: without them only the rate counts.
        """
        return price * self.config.beta * decision.rate_bits + self.config.gamma * decision.cross_nats

    def decide(self, processor: IotlamProcessor, frames: FramesByModality, query: DecisionQuery) -> Decision:
        """Answer one query (B = 1) from frames; see `answer`."""
        return self.answer(processor.tokenize(frames, query), query)

    def answer(self, tokens: Mapping[str, TokenBatch], query: DecisionQuery) -> Decision:
        """Answer one query (B = 1); see `answer_all`."""
        return self.answer_all([(dict(tokens), query)])

    @torch.inference_mode()
    def answer_all(self, examples: Sequence[Example]) -> Decision:
        """Answer B queries at once, without noise and without learning moments, whatever the mode."""
        with self._steady():
            decision: Decision = self(collate(examples))
        return decision

    @torch.inference_mode()
    def write(
        self,
        tokens: Mapping[str, TokenBatch],
        query: DecisionQuery,
        prompt: Sequence[int],
        allowed: Allowed | None = None,
        beams: int = 1,
        longest: int = 64,
    ) -> list[int]:
        """Write text about one query, for a model with `head="write"`; without noise, whatever the mode.

        Args:
            tokens: by modality, B = 1.
            query: what is asked.
            prompt: entries that the text begins with, one or more; `[SAY]` for the presets.
            allowed: projection onto allowed texts (`one_of`, `only`); None allows all.
            beams: width of the search, 1 for greedy.
            longest: entries, at most.

        Returns:
            Entries of the decoder's vocabulary, without prompt and end.

        Raises:
            BadInput: if the inputs do not fit the configuration.
        """
        inputs = collate([(dict(tokens), query)])
        self._check(inputs, writes=True)
        with self._steady():
            _, embeds_BSD, mask_BS = self._read(inputs)
            prompt_BL = torch.tensor([list(prompt)])
            embeds_BSD = torch.cat([embeds_BSD, self._embed(prompt_BL)], dim=1)
            mask_BS = torch.cat([mask_BS, torch.ones_like(prompt_BL, dtype=torch.bool)], dim=1)
            end = self.decoder.config.eos_token_id
            return write(self.decoder, embeds_BSD, mask_BS, end, allowed, beams, longest)[0]

    def trainable_share(self) -> Share:
        """LoRA, fusion, projector and heads against the whole model."""
        sizes = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return Share(sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes))

    def _read(self, inputs: ModelInput) -> tuple[FusionOutput, Tensor, Tensor]:
        """The fused tokens, and the context of the decoder: embeddings (B, S, D) and mask (B, S)."""
        fused = self._fuse(inputs)
        places_BKD = self.projector.places(fused.latents_BKD)
        candidates_BPD = self.projector.candidates(fused.latents_BKD, inputs)
        mask_BS = torch.cat([inputs.place_mask_BK, inputs.candidate_mask_BP], dim=1)
        return fused, torch.cat([places_BKD, candidates_BPD], dim=1), mask_BS

    def _fuse(self, inputs: ModelInput) -> FusionOutput:
        fused: FusionOutput = self.fusion(
            inputs.batches, inputs.anchors_BKHX, inputs.place_mask_BK, with_likelihood=torch.is_grad_enabled()
        )
        return fused

    def _embed(self, text_BL: Tensor) -> Tensor:
        """The decoder's own embeddings (B, L, D)."""
        embed_BLD: Tensor = self.decoder.get_input_embeddings()(text_BL)
        return embed_BLD

    def _decode(self, embeds_BSD: Tensor, mask_BS: Tensor) -> Tensor:
        """Last hidden states (B, S, D) of the backbone; the language-model head is not run."""
        causal = self.decoder.get_base_model()
        assert isinstance(causal, PreTrainedModel)
        output = causal.base_model(
            inputs_embeds=embeds_BSD, attention_mask=mask_BS.long(), position_ids=_positions(mask_BS), use_cache=False
        )
        hidden_BSD: Tensor = output.last_hidden_state
        return hidden_BSD

    @contextmanager
    def _steady(self) -> Iterator[None]:
        """Evaluation mode within."""
        training = self.training
        if training:
            self.eval()
        try:
            yield
        finally:
            if training:
                self.train()

    def _check(self, inputs: ModelInput, writes: bool) -> None:
        if writes != (self.config.head == "write"):
            use = "spell() and write()" if self.config.head == "write" else "forward(), answer() and decide()"
            raise BadInput(
                f"A model whose head is to {self.config.head}", expected=use, got="the others", fix="call those"
            )
        if (got := inputs.features_BPF.shape[2]) != self.config.n_features:
            raise BadInput(
                "Features per candidate", expected=str(self.config.n_features), got=str(got), fix="build the query anew"
            )


def _positions(mask_BS: Tensor) -> Tensor:
    """Each position's place among those that are not padding."""
    return (mask_BS.long().cumsum(1) - 1).clamp_min(0)
