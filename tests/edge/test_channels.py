from __future__ import annotations

import numpy as np
import pytest

from iotlam_edge.channels import channels, path_gain
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
