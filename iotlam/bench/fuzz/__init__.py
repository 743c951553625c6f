"""Spoilt files for the readers of modalities: crashes and memory, each file read in a process of its own."""

from iotlam.bench.fuzz.harness import Finding, FuzzReport, fuzz_all, fuzz_reader
from iotlam.bench.fuzz.seeds import Seed, file_modalities, seed_files

__all__ = ["Finding", "FuzzReport", "Seed", "file_modalities", "fuzz_all", "fuzz_reader", "seed_files"]
