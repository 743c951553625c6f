"""LiDAR modality: point clouds to pillar tokens on a fixed ground grid."""

from iotlam_lidar.plugin import LidarModality

__all__ = ["LidarModality"]
