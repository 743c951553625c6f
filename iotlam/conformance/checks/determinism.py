"""The same in, the same out; and nobody else's random numbers."""

from __future__ import annotations

from iotlam.conformance.catalog import STEADY, TOKENS, Failed, check
from iotlam.conformance.state import changed, random_state, seed_all
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import Frames, difference
from iotlam.contracts import TokenBatch
from iotlam.plugins.registry import guarded

AREA = "determinism"


@check(AREA, "silver", needs=(*TOKENS, "tokens-kept", "input-left-alone"))
def same_window_same_tokens(subject: Subject) -> None:
    """One window gives one result, to the bit."""
    frames = subject.sample(0)
    results = []
    for _ in range(2):
        seed_all(3)
        results.append(subject.tokenize(frames))
    if found := difference(*results):
        raise Failed(
            "tokenize",
            expected="the same tokens for the same window",
            got=found,
            fix="draw nothing at random, or from a generator with a fixed seed",
        )


@check(AREA, "silver", needs=STEADY)
def same_plugin_same_tokens(subject: Subject) -> None:
    """Two objects of the plugin give the same tokens."""
    frames = subject.sample(0)
    seed_all(4)
    other = subject.another()
    if found := difference(subject.tokenize(frames), other.tokenize(frames)):
        raise Failed(
            "construct",
            expected="the same weights every time",
            got=found,
            fix="load them from a file, or draw them inside torch.random.fork_rng with a fixed seed",
        )


@check(AREA, "silver", needs=("same-window-same-tokens",))
def tokens_as_in_evaluation(subject: Subject) -> None:
    """The encoder is ready for use: eval() changes nothing, and neither does train() once eval() is called again."""
    encoder, frames = subject.encoder, subject.sample(0)
    first = _seeded_tokens(subject, frames)
    encoder.eval()
    if found := difference(first, _seeded_tokens(subject, frames)):
        raise Failed(
            "encoder",
            expected="the same tokens as constructed as after eval()",
            got=found,
            fix="call self.encoder.eval() in the constructor",
        )
    encoder.train()
    subject.tokenize(frames)
    encoder.eval()
    if found := difference(first, _seeded_tokens(subject, frames)):
        raise Failed(
            "encoder",
            expected="the same tokens after train(), a window and eval()",
            got=found,
            fix="learn nothing in tokenize, moments of a normalisation included",
        )


def _seeded_tokens(subject: Subject, frames: Frames) -> TokenBatch:
    seed_all(6)
    return subject.tokenize(frames)


@check(AREA, "silver", needs=("tokens-as-in-evaluation",))
def shared_generators_left_alone(subject: Subject) -> None:
    """Constructing, sampling and tokenising neither seed nor draw from the generators that all share."""
    frames = subject.sample(0)
    steps = {"construct": subject.construct, "token_spec": subject.plugin.token_spec,
             "sample": lambda: subject.sample(7), "tokenize": lambda: subject.tokenize(frames)}  # fmt: skip
    for step, call in steps.items():
        seed_all(5)
        before = random_state()
        guarded(subject.name, step, call)
        if names := changed(before, random_state()):
            raise Failed(
                step,
                expected="the state of shared generators left alone",
                got=f"a change of {', '.join(names)}",
                fix="use np.random.default_rng(seed), torch.Generator or torch.random.fork_rng",
            )
