import numpy as np
import pytest

from iotlam.blocks.window import age_s, latest_by_sensor, one_batch
from iotlam.contracts import BadInput, SensorFrame, TokenSpec


def frame(sensor: str, t_ns: int) -> SensorFrame:
    return SensorFrame(t_ns=t_ns, data=np.zeros(1, np.float32), meta={"sensor": sensor})


def test_latest_frames_newest_first_whatever_the_order() -> None:
    frames = [frame("b", 5), frame("a", 1), frame("b", 9), frame("b", 7)]
    for order in (frames, frames[::-1]):
        picked = latest_by_sensor(order, 2, "m")
        assert [[(f.sensor, f.t_ns) for f in group] for group in picked] == [[("a", 1)], [("b", 9), ("b", 7)]]


def test_no_frames_is_bad_input() -> None:
    with pytest.raises(BadInput, match="at least one frame"):
        latest_by_sensor([], 1, "m")


def test_age_counts_from_the_newest() -> None:
    frames = [frame("a", 2_000_000_000), frame("b", 3_500_000_000)]
    assert [age_s(f, frames) for f in frames] == [-1.5, 0.0]


def test_one_batch_keeps_to_the_budget() -> None:
    spec = TokenSpec("m", dim=3, max_tokens=4)
    batch = one_batch(spec, np.ones((4, 3)), np.ones(4, bool), np.zeros(4), np.zeros((4, 2)))
    assert batch.tokens_BTD.shape == (1, 4, 3)
    with pytest.raises(BadInput, match="at most 4 tokens"):
        one_batch(spec, np.ones((5, 3)), np.ones(5, bool), np.zeros(5), np.zeros((5, 2)))
