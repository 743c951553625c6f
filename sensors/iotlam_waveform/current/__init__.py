"""Current modality: clamps on the phases of motors."""

from iotlam_waveform.current.plugin import CurrentModality, read

__all__ = ["CurrentModality", "read"]
