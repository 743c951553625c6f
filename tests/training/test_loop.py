"""The optimisation loop: its schedule, what it counts, and that to resume is never to have stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from iotlam.contracts import BadInput
from iotlam.fusion import BottleneckGate
from iotlam.training import loop
from iotlam.training.checkpoint import CHECKPOINT
from iotlam.training.loop import optimise, schedule


class Point(nn.Module):
    """A place in the plane that walks to the target."""

    def __init__(self) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.zeros(2))
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)


def walk(
    point: Point,
    folder: Path,
    *,
    steps: int = 10,
    recipe: str = "walk",
    on_step: Callable[[int, float], None] = lambda *_: None,
    noise: float = 0.0,
    weight_decay: float = 0.0,
) -> int:
    target_2 = torch.tensor([3.0, -4.0])

    def loss_at(step: int) -> Tensor:
        push_2 = noise * torch.randn(2, generator=torch.Generator().manual_seed(step))
        return (point.at - target_2 + push_2).square().sum()

    return optimise(
        point,
        loss_at,
        steps=steps,
        learning_rate=0.1,
        warmup=4,
        weight_decay=weight_decay,
        folder=folder,
        recipe=recipe,
        on_step=on_step,
    )


def test_the_schedule_warms_up_and_falls_to_a_tenth() -> None:
    assert [schedule(step, 100, 10) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert schedule(10, 100, 10) == pytest.approx(1.0)
    assert schedule(55, 100, 10) == pytest.approx(0.55)
    assert schedule(100, 100, 10) == pytest.approx(0.1)
    assert schedule(0, 100, 0) == schedule(0, 1, 0) == pytest.approx(1.0)


def test_the_rate_follows_the_schedule_and_only_what_learns_moves(tmp_path: Path) -> None:
    point, x_N = Point(), [0.0]
    walk(point, tmp_path, on_step=lambda *_: x_N.append(float(point.at[0].detach())))
    moved = [later - earlier for earlier, later in zip(x_N, x_N[1:], strict=False)]
    # Adam moves by its rate where the gradient keeps its direction.
    assert moved == pytest.approx([0.1 * schedule(step, 10, 4) for step in range(10)], rel=0.02)
    assert point.fixed.tolist() == [1.0, 1.0]


def test_it_counts_the_steps_taken_and_tells_each_with_its_loss(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    assert walk(Point(), tmp_path, on_step=lambda *step: told.append(step)) == 10
    assert [number for number, _ in told] == list(range(1, 11)) and told[0][1] == pytest.approx(25.0)
    assert [loss for _, loss in told] == sorted((loss for _, loss in told), reverse=True)


def test_a_finished_run_takes_no_step_and_restores_the_weights(tmp_path: Path, same_state: Callable[..., None]) -> None:
    whole, again = Point(), Point()
    walk(whole, tmp_path)
    assert walk(again, tmp_path, on_step=lambda *_: pytest.fail("a step")) == 0
    same_state(whole, again)


@pytest.mark.parametrize("stop_at", [1, 3, 7, 9])
def test_a_run_that_was_stopped_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same_state: Callable[..., None], stop_at: int
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 3)

    def stop(step: int, _: float) -> None:
        if step == stop_at:
            raise KeyboardInterrupt

    whole, resumed, steps = Point(), Point(), []
    walk(whole, tmp_path / "a", noise=0.5, weight_decay=0.01)
    with pytest.raises(KeyboardInterrupt):
        walk(Point(), tmp_path / "b", on_step=stop, noise=0.5, weight_decay=0.01)
    kept = (stop_at - 1) // 3 * 3
    follow = lambda step, _: steps.append(step)  # noqa: E731
    assert walk(resumed, tmp_path / "b", on_step=follow, noise=0.5, weight_decay=0.01) == 10 - kept
    assert steps == list(range(kept + 1, 11))
    same_state(whole, resumed)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    walk(Point(), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(BadInput, match="expected a checkpoint of this model, run, got one made with walk"):
        walk(Point(), tmp_path, recipe="run")
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_gradients_are_clipped_and_the_module_is_put_in_training_mode(tmp_path: Path) -> None:
    far = Point().eval()
    with torch.no_grad():
        far.at += 1e3
    walk(far, tmp_path, steps=2)
    assert far.training and float(far.at.grad.norm()) == pytest.approx(1.0, rel=1e-3)


def test_gates_learn_five_times_as_fast() -> None:
    module = nn.ModuleDict({"gate": BottleneckGate(2), "rest": nn.Linear(2, 1)})
    biases = [module.get_parameter("gate.outer.bias"), module.get_parameter("rest.bias")]
    before = [bias.detach().clone() for bias in biases]
    optimise(
        module, lambda _: sum(bias.sum() for bias in biases), steps=1, learning_rate=0.01, warmup=0, weight_decay=0.0
    )
    moved = [(old - bias.detach()).tolist() for old, bias in zip(before, biases, strict=True)]
    assert moved[0] == pytest.approx([0.05] * 2, rel=1e-3) and moved[1] == pytest.approx([0.01], rel=1e-3)
