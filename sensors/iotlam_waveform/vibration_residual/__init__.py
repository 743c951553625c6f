"""Vibration as what is left beside the same sensor's healthy past, over orders of the shaft."""

from iotlam_waveform.vibration.plugin import read
from iotlam_waveform.vibration_residual.plugin import VibrationResidualModality

__all__ = ["VibrationResidualModality", "read"]
