"""The same in, the same out; and nobody else's random numbers."""

from __future__ import annotations

from iotlam.conformance.catalog import MADE, TOKENS, Failed, check
from iotlam.conformance.state import changed, random_state, seed_all
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import difference
from iotlam.plugins.registry import guarded

AREA = "determinism"


@check(AREA, "silver", needs=(*TOKENS, "tokens-kept"))
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


@check(AREA, "silver", needs=("same-window-same-tokens", "windows-independent"))
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


@check(AREA, "silver", needs=(*MADE, "same-window-same-tokens"))
def tokens_as_in_evaluation(subject: Subject) -> None:
    """The encoder is ready for use: eval() changes nothing, and neither does train() once eval() is called again."""
    encoder, frames = subject.encoder, subject.sample(0)
    seed_all(6)
    first = subject.tokenize(frames)
    encoder.eval()
    seed_all(6)
    _alike(subject, first, "as constructed as after eval()", "call self.encoder.eval() in the constructor")
    encoder.train()
    for seed in (0, 1):
        subject.tokenize(subject.sample(seed))
    encoder.eval()
    seed_all(6)
    _alike(
        subject, first, "after train(), other windows and eval()", "learn nothing in tokenize, running moments included"
    )


def _alike(subject: Subject, first: object, when: str, fix: str) -> None:
    from iotlam.contracts import TokenBatch

    assert isinstance(first, TokenBatch)
    if found := difference(first, subject.tokenize(subject.sample(0))):
        raise Failed("encoder", expected=f"the same tokens {when}", got=found, fix=fix)
