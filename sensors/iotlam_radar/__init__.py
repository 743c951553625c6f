"""Radar modality: FMCW radar cubes to range tokens."""

from iotlam_radar.plugin import RadarModality

__all__ = ["RadarModality"]
