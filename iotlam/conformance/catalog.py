"""What a check is, and the list of all of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from iotlam.conformance.subject import Subject

Tier = Literal["bronze", "silver", "gold", "platinum"]
TIERS: tuple[Tier, ...] = get_args(Tier)
Facts = Mapping[str, float]
Body = Callable[["Subject"], Facts | None]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a modality must do.

    Attributes:
        name: short, in words joined by hyphens.
        area: what it is about.
        tier: the first tier that asks for it.
        needs: checks without which it says nothing; it is not run unless they pass.
        body: returns the figures it measured, if any; raises `Failed` or `NotApplicable`.
        summary: one line on what is looked at.
    """

    name: str
    area: str
    tier: Tier
    needs: tuple[str, ...]
    body: Body
    summary: str


MADE = ("manifest-valid", "spec-fits-manifest")
"""What a check needs that asks the plugin for anything."""
SAMPLED = (*MADE, "sample-fits-manifest")
"""What a check needs that looks at sample data."""
TOKENS = (
    *SAMPLED,
    "tokens-name-modality",
    "tokens-one-window",
    "tokens-float32",
    "mask-bool",
    "tokens-width",
    "tokens-within-budget",
    "positions-as-promised",
    "tokens-finite",
    "some-token-valid",
)
"""What a check needs that looks at tokens."""
STEADY = (*TOKENS, "windows-independent")
"""What a check needs that compares tokens: a plugin with a memory cannot be judged by more than that."""


class Failed(Exception):
    """What a check found wrong.

    Args:
        field: where, e.g. a method or a key of the manifest.
        expected: what would have been right.
        got: what was found.
        fix: what the author can do.
    """

    def __init__(self, field: str, *, expected: str, got: str, fix: str) -> None:
        self.field, self.expected, self.got, self.fix = field, expected, got, fix
        super().__init__(f"field {field}: expected {expected}, got {got}; {fix}")


class NotApplicable(Exception):
    """Why a check says nothing about a modality."""


_CHECKS: dict[str, Check] = {}


def check(area: str, tier: Tier, needs: tuple[str, ...] = ()) -> Callable[[Body], Body]:
    """Register a function as a check; its name gives the check's, its docstring the summary."""

    def register(body: Body) -> Body:
        name = body.__name__.replace("_", "-")
        _CHECKS[name] = Check(name, area, tier, needs, body, (body.__doc__ or "").strip().rstrip("."))
        return body

    return register


def all_checks() -> dict[str, Check]:
    """Every check by name, in an order in which what a check needs comes before it."""
    package = importlib.import_module("iotlam.conformance.checks")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    ordered: dict[str, Check] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for needed in _CHECKS[name].needs:
                add(needed)
            ordered[name] = _CHECKS[name]

    for name in _CHECKS:
        add(name)
    return ordered
