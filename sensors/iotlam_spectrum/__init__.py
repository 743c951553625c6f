"""Spectrum modality: FMCW radar cubes to range tokens."""

from iotlam_spectrum.plugin import SpectrumModality

__all__ = ["SpectrumModality"]
