"""Vibration modality: accelerometers on machines."""

from iotlam_waveform.vibration.plugin import VibrationModality, read

__all__ = ["VibrationModality", "read"]
