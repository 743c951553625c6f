from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput
from iotlam_edge.channels import Trace, channels, path_gain
from iotlam_edge.fleet import draw_fleet

DEVICES = draw_fleet(6, 0).devices


def test_path_loss_is_that_of_the_model() -> None:
    device = DEVICES[0].changed(position_m=(1000.0, 0.0, 25.0))
    assert 10 * np.log10(path_gain(device)) == pytest.approx(-128.1)
    assert path_gain(device.changed(position_m=(100.0, 0.0, 25.0))) == pytest.approx(path_gain(device) * 10**3.76)


def test_fading_is_rayleigh_and_drawn_anew_in_each_round() -> None:
    powers = np.array([[c.gain for c in channels(DEVICES, 5, number)] for number in range(3000)])
    powers /= [path_gain(device) for device in DEVICES]
    np.testing.assert_allclose(powers.mean(0), 1.0, atol=0.08)
    np.testing.assert_allclose((powers < 0.1).mean(0), 1 - np.exp(-0.1), atol=0.03)
    assert abs(np.corrcoef(powers[:-1, 0], powers[1:, 0])[0, 1]) < 0.06
    assert channels(DEVICES, 5, 7) == channels(DEVICES, 5, 7) != channels(DEVICES, 6, 7)


def test_a_trace_is_met_again(tmp_path: Path) -> None:
    rounds = [channels(DEVICES, 1, number) for number in range(3)]
    trace = Trace(tuple(d.name for d in DEVICES), tuple(tuple(c.gain for c in one) for one in rounds))
    trace.write(tmp_path / "trace.json")
    again = Trace.read(tmp_path / "trace.json")
    assert again == trace
    assert again.channels(DEVICES[2:4], 4) == rounds[1][2:4]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"devices": ["a"], "gain": []}', '{"devices": ["a"], "gain": [[0.1, 0.2]]}']
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(BadInput):
        Trace.read(tmp_path / "trace.json")


def test_a_stranger_is_refused() -> None:
    with pytest.raises(BadInput, match="'sensor-0'"):
        Trace(("other",), ((0.5,),)).channels(DEVICES, 0)
