"""Sample frames, and the tokens that they become."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from iotlam.conformance.catalog import MADE, SAMPLED, TOKENS, Facts, Failed, NotApplicable, check
from iotlam.conformance.state import seed_all
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import from_sensor, span_s
from iotlam.contracts import SensorFrame, check_window
from iotlam.plugins.registry import guarded, token_problems

AREA = "data"
TOKENIZES = (*SAMPLED, "tokenizes")


@check(AREA, "bronze", needs=MADE)
def sample_gives_frames(subject: Subject) -> None:
    """The sample is a sequence of at least one SensorFrame."""
    frames = subject.sample(0)
    wrong = [type(frame).__name__ for frame in frames if not isinstance(frame, SensorFrame)]
    if wrong or not frames:
        raise Failed(
            "sample",
            expected="at least one SensorFrame",
            got=wrong[0] if wrong else "none",
            fix="wrap each reading in a SensorFrame",
        )


@check(AREA, "bronze", needs=("sample-gives-frames",))
def sample_fits_manifest(subject: Subject) -> None:
    """Sample frames are what the manifest says: dtype, shape, metadata, units, values, times."""
    for seed in range(3):
        check_window(subject.manifest, subject.sample(seed))


@check(AREA, "silver", needs=SAMPLED)
def sample_is_reproducible(subject: Subject) -> None:
    """The same seed gives the same sample, whatever was drawn before."""
    seed_all(1)
    first = subject.sample(5)
    seed_all(2)
    again = subject.sample(5)
    same = len(first) == len(again) and all(
        one.t_ns == other.t_ns and np.array_equal(one.data, other.data, equal_nan=True)
        for one, other in zip(first, again, strict=True)
    )
    if not same:
        raise Failed(
            "sample",
            expected="one sample for one seed",
            got="two that differ",
            fix="draw from np.random.default_rng(seed) only",
        )


@check(AREA, "silver", needs=SAMPLED)
def samples_vary(subject: Subject) -> None:
    """Other seeds give other samples."""
    one, other = subject.sample(1), subject.sample(2)
    if len(one) == len(other) and all(np.array_equal(a.data, b.data) for a, b in zip(one, other, strict=True)):
        raise Failed("sample", expected="other data for another seed", got="the same", fix="use the seed")


@check(AREA, "bronze", needs=SAMPLED)
def tokenizes(subject: Subject) -> None:
    """A sample is tokenised, and a TokenBatch comes of it."""
    _hold(subject, "type", "a TokenBatch")


def _hold(subject: Subject, field: str, expected: str) -> None:
    problems = guarded(subject.name, "tokenize", lambda: token_problems(subject.raw_tokens, subject.spec))
    if field in problems:
        raise Failed(f"tokenize, {field}", expected=expected, got=problems[field], fix="return what was promised")


def _promise(name: str, field: str, expected: Callable[[Subject], str], summary: str) -> None:
    """A check that tokens keep one promise."""

    def body(subject: Subject) -> None:
        _hold(subject, field, expected(subject))

    body.__name__, body.__doc__ = name, summary
    check(AREA, "bronze", needs=TOKENIZES)(body)


_promise("tokens_name_modality", "modality", lambda s: f"'{s.name}'", "Tokens carry the name of their modality.")
_promise("tokens_one_window", "batch", lambda _: "a batch of B = 1", "One window gives a batch of one.")
_promise("tokens_float32", "tokens_BTD", lambda _: "float32", "Tokens are float32.")
_promise("mask_bool", "mask_BT", lambda _: "bool", "The mask is bool.")
_promise("tokens_width", "dim", lambda s: f"width {s.spec.dim}", "Tokens have the promised width.")
_promise("tokens_within_budget", "count", lambda s: f"at most {s.spec.max_tokens}", "No more tokens than promised.")
_promise(
    "positions_as_promised",
    "position_BTX",
    lambda s: "positions" if s.spec.positioned else "no positions",
    "Tokens have positions exactly where token_spec says so.",
)
_promise("tokens_finite", "values", lambda _: "finite values", "Tokens, times and positions are finite.")


@check(AREA, "bronze", needs=TOKENS[:-1])
def some_token_valid(subject: Subject) -> Facts:
    """A sample of healthy data gives at least one valid token."""
    mask_T = subject.raw_tokens.mask_BT[0]
    if not bool(mask_T.any()):
        raise Failed(
            "tokenize, mask_BT", expected="True for healthy data", got="False for all", fix="mask missing data only"
        )
    return {"sample_tokens": len(mask_T)}


@check(AREA, "silver", needs=(*TOKENS, "samples-vary", "tokens-kept"))
def tokens_vary(subject: Subject) -> None:
    """Other data give other tokens."""
    one, other = (subject.tokenize(subject.sample(seed)).tokens_BTD for seed in (1, 2))
    if one.shape == other.shape and bool((one == other).all()):
        raise Failed(
            "tokenize", expected="other tokens for other data", got="the same", fix="let them depend on the data"
        )


@check(AREA, "silver", needs=TOKENS)
def tokens_scaled(subject: Subject) -> Facts:
    """Valid tokens are of a size that float32 and whitening can bear: root mean square from 0.001 to 1000."""
    tokens = subject.raw_tokens
    rms = float(tokens.tokens_BTD[tokens.mask_BT].double().square().mean().sqrt())
    if not 1e-3 <= rms <= 1e3:
        raise Failed(
            "tokenize, tokens_BTD",
            expected="root mean square from 0.001 to 1000",
            got=f"{rms:.3g}",
            fix="scale features by what is usual of them",
        )
    return {"token_rms": rms}


@check(AREA, "silver", needs=TOKENS)
def times_in_window(subject: Subject) -> None:
    """Times are seconds relative to the newest frame, and lie within the window."""
    frames = subject.sample(0)
    time_T = subject.raw_tokens.time_BT[0]
    span = span_s(subject.manifest, frames)
    least, most = float(time_T.min()), float(time_T.max())
    if least < -1.01 * span - 1e-3 or most > 1.01 * span + 1e-3:
        raise Failed(
            "tokenize, time_BT",
            expected=f"seconds within {span:g} of the newest frame",
            got=f"{least:g} to {most:g}",
            fix="give (t_ns - newest t_ns) / 1e9",
        )


@check(AREA, "silver", needs=(*TOKENS, "times-in-window"))
def older_sensor_is_dated(subject: Subject) -> None:
    """Tokens of a sensor whose readings are half a second older say so."""
    if "sensor" not in subject.manifest.meta:
        raise NotApplicable("the manifest asks for no meta 'sensor': the modality has one sensor")
    frames = subject.sample(0)
    both = subject.survives([*frames, *from_sensor(frames, "zz-older", -500_000_000)], "tokenize", "two sensors")
    if both is None:
        raise NotApplicable("one window holds one sensor")
    earliest, usual = float(both.time_BT.min()), float(subject.raw_tokens.time_BT.min())
    if not usual - 0.501 <= earliest < usual - 1e-3:
        raise Failed(
            "tokenize, time_BT",
            expected=f"{usual - 0.5:g} to {usual:g} s for tokens of the older sensor",
            got=f"{earliest:g} s",
            fix="date tokens by the t_ns of their own frame",
        )


@check(AREA, "silver", needs=TOKENS)
def positions_on_site(subject: Subject) -> None:
    """Positions are metres on the ground of a site: within 100 km of its origin."""
    position_BTX = subject.raw_tokens.position_BTX
    if position_BTX is None:
        raise NotApplicable("the modality measures no place")
    farthest = float(position_BTX.abs().max())
    if farthest > 1e5:
        raise Failed(
            "tokenize, position_BTX",
            expected="site coordinates in metres",
            got=f"{farthest:g}",
            fix="carry points into the site's frame with pose_site",
        )


@check(AREA, "gold", needs=TOKENS)
def reconstruction_fits_manifest(subject: Subject) -> None:
    """Frames that reconstruct gives are what the manifest says."""
    reconstruct = getattr(subject.plugin, "reconstruct", None)
    if reconstruct is None:
        raise NotApplicable("the modality has no method 'reconstruct'")
    tokens = subject.tokenize(subject.sample(0))
    check_window(subject.manifest, list(guarded(subject.name, "reconstruct", lambda: reconstruct(tokens))))
