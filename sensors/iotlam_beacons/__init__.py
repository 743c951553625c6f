"""Beacon modality: what connected vehicles say of themselves, one token per message."""

from iotlam_beacons.plugin import BeaconModality

__all__ = ["BeaconModality"]
