"""What a model is made of, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar, get_type_hints

from iotlam.contracts import BadInput, TokenSpec
from iotlam.fusion import FusionConfig

FORMAT = "iotlam-model/1"
ROI_M = 6.0
"""How far from the nearest place a token may lie, metres, unless a model says otherwise."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IotlamConfig:
    """Sizes and parts of a model. The defaults keep the trainable share, all in, below 5 % of `nano`.

    Attributes:
        modalities: what the fusion takes.
        n_features: width F of a candidate's features.
        decoder: preset, folder or hub name of the causal decoder.
        decoder_sha256: hash of its base weights, written when the model is saved; '' before.
        roi_m: how far from the nearest place a token may lie, metres.
        fusion: sizes of the fusion.
        lora_rank: rank of the adaptation of the decoder.
        lora_alpha: its scale, divided by the rank.
        head_width: hidden width of the heads.
        beta: weight of the rate in the loss, per bit and token.
        gamma: weight of the cross-modal likelihood in the loss, per nat and place.

    Raises:
        BadInput: if there is no modality, one is named twice, or a size is not positive.
    """

    modalities: tuple[TokenSpec, ...]
    n_features: int
    decoder: str = "nano"
    decoder_sha256: str = ""
    roi_m: float = ROI_M
    fusion: FusionConfig = field(default_factory=FusionConfig)
    lora_rank: int = 4
    lora_alpha: float = 8.0
    head_width: int = 32
    beta: float = 1e-4
    gamma: float = 1e-4

    def __post_init__(self) -> None:
        names = [spec.modality for spec in self.modalities]
        if not names or len(set(names)) < len(names):
            raise _bad("modalities", "one or more, each once", ", ".join(names) or "none", "list each modality once")
        if min(min(spec.dim, spec.max_tokens) for spec in self.modalities) < 1:
            raise _bad("modalities", "positive dim and max_tokens", "others", "correct them")
        for name in ("n_features", "roi_m", "lora_rank", "lora_alpha", "head_width"):
            if getattr(self, name) <= 0:
                raise _bad(name, "a positive number", str(getattr(self, name)), "raise it")
        for name in ("beta", "gamma"):
            if getattr(self, name) < 0:
                raise _bad(name, "zero or more", str(getattr(self, name)), "raise it")

    def to_json(self) -> str:
        """This configuration as indented JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, subject: str = "config.json") -> IotlamConfig:
        """Read what `to_json` wrote.

        Raises:
            BadInput: for what is no JSON, another format, or a key that is unknown, missing or of the wrong type.
        """
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInput(subject, expected="JSON", got=str(error), fix="restore the file") from error
        if not isinstance(raw, dict) or raw.pop("format", None) != FORMAT:
            fix = "name a folder that iotlam saved, with a matching version"
            raise BadInput(subject, expected=f'"format": "{FORMAT}"', got="another format", fix=fix)
        nested = dict(raw)
        if isinstance(specs := raw.get("modalities"), list):
            nested["modalities"] = tuple(_read(TokenSpec, spec, f"{subject} modalities") for spec in specs)
        if "fusion" in raw:
            nested["fusion"] = _read(FusionConfig, raw["fusion"], f"{subject} fusion")
        return _read(cls, nested, subject)


def _bad(name: str, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"IotlamConfig.{name}", expected=expected, got=got, fix=fix)


def _read(cls: type[T], raw: Any, subject: str) -> T:
    """Build a dataclass from a mapping, refusing unknown, missing and wrongly typed keys."""
    if not isinstance(raw, Mapping):
        raise BadInput(subject, expected="an object", got=type(raw).__name__, fix="restore the file")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    required = {name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if unknown := sorted(raw.keys() - known.keys()):
        raise BadInput(subject, expected="only known keys", got=", ".join(unknown), fix="remove or rename them")
    if missing := sorted(required - raw.keys()):
        raise BadInput(subject, expected=f"the keys {', '.join(missing)}", got="none of them", fix="add them")
    hints = get_type_hints(cls)
    for name, value in raw.items():
        if not _fits(value, hints[name]):
            expected = getattr(hints[name], "__name__", str(hints[name]))
            raise BadInput(f"{subject} {name}", expected=expected, got=repr(value), fix="correct the value")
    return cls(**raw)


def _fits(value: Any, hint: Any) -> bool:
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, getattr(hint, "__origin__", hint))
