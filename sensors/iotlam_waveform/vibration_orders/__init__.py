"""Vibration as lines over orders of the shaft, each with its place."""

from iotlam_waveform.vibration.plugin import read
from iotlam_waveform.vibration_orders.plugin import VibrationOrdersModality

__all__ = ["VibrationOrdersModality", "read"]
