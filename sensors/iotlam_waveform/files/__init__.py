"""Readers of recorded waveforms: .mat, .csv, .wav and .npz; nothing in a file is trusted or executed."""

from iotlam_waveform.files.reading import read_recordings

__all__ = ["read_recordings"]
