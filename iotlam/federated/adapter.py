"""The parts of a model that rounds change: LoRA's factors by layer, and all other weights that learn."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn

from iotlam.contracts import BadInput
from iotlam.federated.factors import Factors, spectrum, total
from iotlam.model import IotlamModel, from_pretrained
from iotlam.model.folder import digest, own_state

ADAPTER = "default"

Adapter = Mapping[str, Factors]
"""By the full name of the layer within the decoder."""


class RoundModel:
    """A finished model, with a new adapter on top that rounds train; what it had learnt is merged into its decoder.

    Args:
        base: folder of a model that devices already have.
        rank: of the new adapter.
        seed: of its A; its B is zero.

    Raises:
        BadInput: if the folder holds no model, or one whose adapter is on fused experts.
    """

    def __init__(self, base: Path, rank: int, seed: int = 0) -> None:
        finished = from_pretrained(base)
        config = finished.config
        self.scale = config.lora_alpha / config.lora_rank
        self.model = IotlamModel(config.changed(lora_rank=rank, lora_alpha=self.scale * rank), seed)
        self.model.load_state_dict(own_state(finished), strict=False)
        self._layers, self._others = _layers(self.model, base), _others(self.model)
        learnt = _factors_of(_layers(finished, base), self.scale)
        self.digest = _common(finished, learnt)
        self._base = {name: _weight(layer).detach().clone() for name, layer in self._layers.items()}
        for name, factors in learnt.items():
            self._base[name] += factors.b_OR @ factors.a_RI
        self.freeze({})
        self.others_at_start = self.others

    @property
    def adapter(self) -> dict[str, Factors]:
        """LoRA's factors, copied, scale multiplied in."""
        return _factors_of(self._layers, self.scale)

    @adapter.setter
    def adapter(self, adapter: Adapter) -> None:
        with torch.no_grad():
            for name, layer in self._layers.items():
                _b(layer).copy_(adapter[name].b_OR / self.scale)
                _a(layer).copy_(adapter[name].a_RI)

    def freeze(self, products: Adapter) -> None:
        """Add products to the decoder's weights as they were at the start; those of no layer are none."""
        with torch.no_grad():
            for name, layer in self._layers.items():
                weight_OI = self._base[name]
                if name in products and products[name].rank:
                    weight_OI = weight_OI + (products[name].b_OR @ products[name].a_RI).to(weight_OI.dtype)
                _weight(layer).copy_(weight_OI)

    def learns(self, factors: tuple[str, ...], others: bool) -> None:
        """Say which of LoRA's factors learn ('a', 'b'), and whether all other weights outside the decoder do."""
        for layer in self._layers.values():
            _a(layer).requires_grad_("a" in factors)
            _b(layer).requires_grad_("b" in factors)
        for parameter in self._others.values():
            parameter.requires_grad_(others)

    @property
    def others(self) -> dict[str, Tensor]:
        """Weights outside the decoder: fusion, projector and heads; copied."""
        return {name: parameter.detach().clone() for name, parameter in self._others.items()}

    @others.setter
    def others(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self._others.items():
                parameter.copy_(tensors[name])


def finished_model(base: Path, learnt: Adapter, others: Mapping[str, Tensor], rank: int | None) -> IotlamModel:
    """An ordinary model of the base's adapter and what rounds have learnt.

    Args:
        base: folder of the model that rounds began with.
        learnt: products by layer.
        others: weights outside the decoder.
        rank: of the result, the best of that rank; None for as much as both adapters have.
    """
    before = from_pretrained(base)
    scale = before.config.lora_alpha / before.config.lora_rank
    known = _factors_of(_layers(before, base), scale)
    together = {name: spectrum(total([known[name].double(), learnt[name].double()])) for name in known}
    rank = rank or max(1, *(len(one.s_R) for one in together.values()))
    model = IotlamModel(before.config.changed(lora_rank=rank, lora_alpha=scale * rank))
    model.load_state_dict(own_state(before), strict=False)
    with torch.no_grad():
        for name, layer in _layers(model, base).items():
            best = together[name].best(rank).padded(rank)
            _b(layer).copy_(best.b_OR / scale)
            _a(layer).copy_(best.a_RI)
        for name, parameter in _others(model).items():
            parameter.copy_(others[name])
    return model.eval()


def _factors_of(layers: Mapping[str, Linear], scale: float) -> dict[str, Factors]:
    """LoRA's factors of layers, copied."""
    return {name: Factors(_b(layer).detach() * scale, _a(layer).detach().clone()) for name, layer in layers.items()}


def _layers(model: IotlamModel, base: Path) -> dict[str, Linear]:
    if odd := [part for part in model.decoder.modules() if hasattr(part, "lora_A") and not isinstance(part, Linear)]:
        got, fix = f"one on {type(odd[0]).__name__}", "train on a decoder without fused experts, such as nano"
        raise BadInput(f"Model {base}", expected="an adapter on linear layers", got=got, fix=fix)
    return {name: part for name, part in model.decoder.named_modules() if isinstance(part, Linear)}


def _weight(layer: Linear) -> Tensor:
    weight = layer.get_base_layer().weight
    assert isinstance(weight, Tensor)
    return weight


def _a(layer: Linear) -> Tensor:
    weight = layer.get_submodule(f"lora_A.{ADAPTER}").weight
    assert isinstance(weight, Tensor)
    return weight


def _b(layer: Linear) -> Tensor:
    weight = layer.get_submodule(f"lora_B.{ADAPTER}").weight
    assert isinstance(weight, Tensor)
    return weight


def _others(model: IotlamModel) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if not name.startswith("decoder.")}


def _common(model: IotlamModel, learnt: Adapter) -> str:
    """A digest of all that devices must have in common before the first round."""
    factors = {f"{name}.{part}": getattr(one, part) for name, one in learnt.items() for part in ("b_OR", "a_RI")}
    return hashlib.sha256((model.base_sha256 + digest(factors | own_state(model))).encode()).hexdigest()
