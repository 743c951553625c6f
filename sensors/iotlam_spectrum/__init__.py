"""Spectrum modality: complex I/Q samples to time x frequency tokens."""

from iotlam_spectrum.plugin import SpectrumModality

__all__ = ["SpectrumModality"]
