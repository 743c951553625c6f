"""Flower's own strategies over iotlam's devices, all of one rank: FedAvg, FedAdam and the like, started as Flower's.

    grid = LocalGrid(client_app(find), names)
    result = FedAdam().start(grid, initial_arrays(base, rank=8), train_config=ConfigRecord({"steps": 10}))
    save_pretrained(resulting_model(base, result.arrays), folder, {})

They have neither journal nor unequal ranks: those are `iotlam.federated.rounds`.
"""

from __future__ import annotations

from pathlib import Path

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from iotlam.contracts import BadInput
from iotlam.federated.adapter import RoundModel, finished_model
from iotlam.federated.local import Local
from iotlam.federated.messages import Given
from iotlam.model import IotlamModel

ARRAYS, CONFIG, METRICS = "arrays", "config", "metrics"
"""Records of the messages, as Flower's strategies name them if not told otherwise."""

EXAMPLES = "num-examples"
"""By which a strategy weighs devices."""

STEPS, LEARNING_RATE = 10, 2e-3
"""Of a device in a round, where the strategy's `train_config` does not say: `steps`, `learning-rate`."""


def initial_arrays(base: Path, rank: int, seed: int = 0) -> ArrayRecord:
    """What a strategy begins with: a new adapter, and all weights outside the decoder.

    Args:
        base: folder of the model that devices begin with.
        rank: of all devices.
        seed: of the adapter's A; its B is zero.
    """
    model = RoundModel(base, rank, seed)
    return _record(Given(model.adapter, {}, model.others))


def resulting_model(base: Path, arrays: ArrayRecord) -> IotlamModel:
    """An ordinary model of what a strategy has come to.

    Args:
        base: as of `initial_arrays`.
        arrays: of the strategy's result.
    """
    given = _given(arrays)
    return finished_model(base, given.start, given.others, None)


def train(device: Local, message: Message) -> Message:
    """Answer a strategy's message to train."""
    config = message.content.config_records.get(CONFIG, ConfigRecord())
    given, loss = device.fit(
        _given(message.content.array_records[ARRAYS]),
        number=int(str(config.get("server-round", 0))),
        steps=int(str(config.get("steps", STEPS))),
        learning_rate=float(str(config.get("learning-rate", LEARNING_RATE))),
    )
    metrics = MetricRecord({EXAMPLES: device.examples, "loss": loss})
    return Message(RecordDict({ARRAYS: _record(given), METRICS: metrics}), reply_to=message)


def evaluate(device: Local, message: Message) -> Message:
    """Answer a strategy's message to evaluate.

    Raises:
        BadInput: if the device holds nothing out; the strategy then goes on without it.
    """
    score, examples = device.judge(_given(message.content.array_records[ARRAYS]))
    if not examples:
        fix = "ask others: fraction_evaluate of the strategy"
        raise BadInput(f"Device '{device.name}'", expected="held-out examples", got="none", fix=fix)
    return Message(RecordDict({METRICS: MetricRecord({EXAMPLES: examples, "score": score})}), reply_to=message)


def _record(given: Given) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in given.arrays().items()})


def _given(record: ArrayRecord) -> Given:
    return Given.of({name: array.numpy() for name, array in record.items()})
