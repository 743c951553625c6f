"""Video modality with a learnt context beside the tubelets' own features."""

from iotlam_video.context.plugin import VideoContextModality

__all__ = ["VideoContextModality"]
