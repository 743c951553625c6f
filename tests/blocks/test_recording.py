from pathlib import Path

import numpy as np
import pytest

from iotlam.blocks.recording import Calibration, allowed_cost, calibration_beside, check_cost
from iotlam.contracts import BadInput

POSE = [[0.0, -1.0, 0.0, 5.0], [1.0, 0.0, 0.0, 6.0], [0.0, 0.0, 1.0, 7.0], [0.0, 0.0, 0.0, 1.0]]


def test_the_files_own_calibration_wins_over_the_folders(tmp_path: Path) -> None:
    scan = tmp_path / "a.pcd.bin"
    assert calibration_beside(scan, Calibration) == (Calibration(), "")
    (tmp_path / "calibration.toml").write_text('sensor = "north"')
    assert calibration_beside(scan, Calibration)[0].sensor == "north"
    (tmp_path / "a.pcd.bin.calibration.toml").write_text("start_ns = 5\n[mount]\nposition_m = [1, 2, 3]\nyaw_deg = 90")
    calibration, name = calibration_beside(scan, Calibration)
    assert (name, calibration.sensor, calibration.start_ns) == ("a.pcd.bin.calibration.toml", "", 5)
    assert calibration.mount is not None
    np.testing.assert_allclose(calibration.mount.pose() @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("nothing = 1", "nothing"),
        ("sensor = ", "readable TOML"),
        ("pose_site = [[1, 0], [0, 1]]", "pose_site"),
        (f"pose_site = {POSE}\nmount = {{position_m = [0, 0, 1]}}", "both pose_site and mount"),
        (f"pose_site = {[[2.0, 0.0, 0.0, 0.0], *POSE[1:]]}", "no rotation"),
        (f"pose_site = {[*POSE[:3], [0.0, 0.0, 1.0, 1.0]]}", "no rotation"),
        ("mount = {position_m = [0, nan, 1]}", "not finite"),
    ],
)
def test_a_calibration_that_cannot_be_right_is_refused(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "calibration.toml").write_text(text)
    with pytest.raises(BadInput, match=match):
        calibration_beside(tmp_path / "scan.bin", Calibration)


def test_cost_is_four_times_the_file_and_some(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(1000))
    assert allowed_cost(path) == 16_004_000
    check_cost(path, 16_004_000, "points")
    with pytest.raises(BadInput, match="1e9 points, 4000 MB"):
        check_cost(path, 4e9, "1e9 points")
