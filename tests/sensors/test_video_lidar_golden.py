"""The shipped traffic policy reads these tokens: what simulated frames become must not move."""

from pathlib import Path

import numpy as np

from iotlam.contracts import SensorFrame, TokenBatch
from iotlam_lidar import LidarModality
from iotlam_video import VideoModality

# Frames of iotlam_street and the tokens they became when the policy was trained (sha256 e1b7be5f, 77015971).
GOLDEN = Path(__file__).parents[1] / "golden" / "street_tokens.npz"
CAMERAS = ("camera/east", "camera/north")


def compare(batch: TokenBatch, golden: dict[str, np.ndarray], name: str) -> None:
    assert batch.mask_BT.all()
    # Bit-identical on one machine; another's vector instructions may round logarithms and dot products otherwise.
    for field, tensor in (("tokens", batch.tokens_BTD), ("position", batch.position_BTX)):
        want = golden[f"{name}_{field}"]
        np.testing.assert_allclose(tensor[0].numpy(), want, rtol=0.0, atol=1e-6 * max(1.0, np.abs(want).max()))


def test_lidar_tokens_of_the_street_stay() -> None:
    with np.load(GOLDEN) as golden:
        meta = {"sensor": "lidar", "pose_site": golden["lidar_pose"]}
        batch = LidarModality().tokenize([SensorFrame(10**9, golden["lidar_data"], meta=meta)])
        assert batch.tokens_BTD[0, :, 0].sum() > 20
        compare(batch, golden, "lidar")


def test_video_tokens_of_the_street_stay() -> None:
    frames = []
    with np.load(GOLDEN) as golden:
        for k in range(4):
            parts = {key: golden[f"video{k}_{name}"] for key, name in
                     (("pose_site", "pose"), ("intrinsics", "intrinsics"))}  # fmt: skip
            meta = {"sensor": CAMERAS[k % 2], **parts}
            frames.append(SensorFrame(k // 2 * 10**9, golden[f"video{k}_data"], meta=meta))
        compare(VideoModality().tokenize(frames), golden, "video")
