"""LiDAR modality with a learnt context beside the pillars' own features."""

from iotlam_lidar.context.plugin import LidarContextModality

__all__ = ["LidarContextModality"]
