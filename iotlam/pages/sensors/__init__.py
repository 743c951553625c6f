"""`iotlam demo sensors`: readings of every installed modality, and the bits that each contributed."""
