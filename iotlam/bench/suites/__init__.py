"""Suites that measure iotlam's own layers, one file each; those of the applications lie beside them."""
