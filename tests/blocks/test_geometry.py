import numpy as np
import pytest

from iotlam.blocks.geometry import calibration, mounted_pose, site_pose, to_site
from iotlam.contracts import BadInput, SensorFrame


def frame(**meta: object) -> SensorFrame:
    return SensorFrame(t_ns=0, data=np.zeros(1, np.float32), meta={"sensor": "s", **meta})


def test_mounted_pose_is_rigid_and_points_where_asked() -> None:
    pose = mounted_pose((1.0, 2.0, 6.0), yaw=np.pi / 2, pitch=np.radians(30))
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    ahead_3 = to_site(np.array([[12.0], [0.0], [0.0]]), pose)[:, 0]
    np.testing.assert_allclose(ahead_3, (1.0, 2.0 + 12.0 * np.cos(np.radians(30)), 0.0), atol=1e-12)


def test_to_site_agrees_with_the_matrix_and_ignores_order_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    pose, points_3N = mounted_pose((3.0, -4.0, 5.0), 0.3, 0.2), rng.normal(size=(3, 1001)) * 50
    moved_3N = to_site(points_3N, pose)
    np.testing.assert_allclose(moved_3N, pose[:3, :3] @ points_3N + pose[:3, 3:], atol=1e-9)
    order = rng.permutation(1001)
    np.testing.assert_array_equal(to_site(points_3N[:, order], pose), moved_3N[:, order])


@pytest.mark.parametrize("pose", [None, np.eye(3), np.full((4, 4), np.nan), "north", object()])
def test_a_bad_pose_is_named(pose: object) -> None:
    with pytest.raises(BadInput, match="pose_site"):
        site_pose(frame(pose_site=pose))


def test_a_number_is_a_calibration_too() -> None:
    assert calibration(frame(carrier_hz=77e9), "carrier_hz") == 77e9
    with pytest.raises(BadInput, match="carrier_hz.*one finite number"):
        calibration(frame(), "carrier_hz")
