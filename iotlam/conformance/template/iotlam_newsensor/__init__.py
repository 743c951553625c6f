"""The newsensor modality."""

from iotlam_newsensor.plugin import NewSensorModality

__all__ = ["NewSensorModality"]
