"""Spoilt files for the readers of modalities: crashes and memory, each file read in a process of its own."""

from iotlam.bench.fuzz.harness import Finding, FuzzReport, fuzz_all, fuzz_reader
from iotlam.bench.fuzz.seeds import Seed, seed_files

__all__ = ["Finding", "FuzzReport", "Seed", "fuzz_all", "fuzz_reader", "seed_files"]
