"""What federated rounds are held against: the same adapter trained on all data in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from iotlam.federated.adapter import RoundModel
from iotlam.federated.local import Task
from iotlam.model import IotlamModel
from iotlam.training.imitation import Part, shuffle
from iotlam.training.loop import optimise
from iotlam.training.shards import Sample


def central(
    task: Task, samples: Sequence[Sample], rank: int, on_step: Callable[[int, IotlamModel], object] = lambda *_: None
) -> IotlamModel:
    """A model trained on examples in one place.

    Args:
        task: what is learnt; its `learning` says how long.
        samples: all examples.
        rank: of the adapter.
        on_step: told the number of each finished step, from 1, and the model, which it may put into eval mode.
    """
    learning = task.learning
    model = RoundModel(task.base, rank, learning.seed)
    model.learns(("a", "b"), others=True)

    def loss_at(step: int) -> Tensor:
        model.model.train()
        rng = np.random.default_rng((learning.seed, step))
        drawn = [shuffle(samples[row], rng) for row in rng.integers(len(samples), size=learning.batch)]
        return task.loss(learning, model.model, Part(drawn, 1.0, 1.0, int(rng.integers(2**62))))

    optimise(
        model.model,
        loss_at,
        steps=learning.steps,
        learning_rate=learning.learning_rate,
        on_step=lambda step, _: on_step(step, model.model),
    )
    return model.model.eval()
