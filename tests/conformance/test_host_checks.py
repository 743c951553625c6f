"""Checks that a plugin cannot break alone, since iotlam keeps what they look at: here iotlam is broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from iotlam.conformance import all_checks
from iotlam.conformance.subject import Subject
from iotlam.conformance.worker import run_check
from iotlam.fusion import BottleneckFusion, FusionOutput
from iotlam.plugins import registry

Forward = Callable[..., FusionOutput]
forward: Forward = BottleneckFusion.forward


def status(check: str, subject: Subject) -> str:
    result = run_check(all_checks()[check], subject)
    assert result.status in ("passed", "failed"), result
    return result.status


@pytest.mark.parametrize(
    "check",
    [
        "duplicate-times-refused",
        "empty-window-refused",
        "missing-metadata-refused",
        "other-objects-refused",
        "out-of-order-refused",
        "wrong-dimensions-refused",
        "wrong-dtype-refused",
        "wrong-unit-refused",
    ],
)
def test_windows_that_nobody_checks_are_noticed(
    check: str, make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject(("plugin.py", "if not 0 < count <= MAX_TOKENS:", "if count > MAX_TOKENS:"))
    assert status(check, subject) == "passed"
    monkeypatch.setattr(registry, "check_window", lambda *_: None)
    assert status(check, subject) == "failed"


def test_masks_that_nobody_refuses_are_noticed(
    make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject(("modality.toml", 'missing = "nan"', 'missing = "none"'))
    assert status("mask-refused-where-none", subject) == "passed"
    monkeypatch.setattr(registry, "check_window", lambda *_: None)
    assert status("mask-refused-where-none", subject) == "failed"


def test_a_host_that_lets_errors_through_is_noticed(
    make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject()
    assert status("host-survives-errors", subject) == "passed"
    monkeypatch.setattr(registry, "guarded", lambda name, step, call: call())
    assert status("host-survives-errors", subject) == "failed"


@pytest.mark.parametrize("check", ["missing-file-refused", "wrong-suffix-refused"])
def test_files_that_nobody_checks_are_noticed(
    check: str, make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject()
    assert status(check, subject) == "passed"
    monkeypatch.setattr(registry.LoadedModality, "read", lambda self, path: iter(()))
    assert status(check, subject) == "failed"


def not_finite(*arguments: Any, **options: Any) -> FusionOutput:
    fused = forward(*arguments, **options)
    return replace(fused, latents_BKD=fused.latents_BKD / 0)


def cut_off(*arguments: Any, **options: Any) -> FusionOutput:
    fused = forward(*arguments, **options)
    return replace(fused, latents_BKD=(fused.latents_BKD * 0).requires_grad_() / 0)


def mask_blind(fusion: BottleneckFusion, batches: Any, *arguments: Any, **options: Any) -> FusionOutput:
    seen = {name: replace(batch, mask_BT=torch.ones_like(batch.mask_BT)) for name, batch in batches.items()}
    return forward(fusion, seen, *arguments, **options)


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("fuses-with-another", not_finite),
        ("fusion-of-noise", not_finite),
        ("fusion-without-it", mask_blind),
        ("fusion-learns", cut_off),
        ("padding-makes-no-difference", mask_blind),
    ],
)
def test_a_broken_fusion_is_noticed(
    check: str, broken: Forward, make_subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = make_subject()
    assert status(check, subject) == "passed"
    monkeypatch.setattr(BottleneckFusion, "forward", broken)
    assert status(check, subject) == "failed"
