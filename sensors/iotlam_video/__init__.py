"""Video modality: street cameras to tubelet tokens on the ground."""

from iotlam_video.plugin import VideoModality

__all__ = ["VideoModality"]
