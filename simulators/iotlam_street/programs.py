"""SUMO's own signal programs: the net's fixed one, and those by detectors or delay made from its phases."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

from iotlam_street.plan import SignalPlan

NativeProgram = Literal["fixed", "actuated", "delay_based"]


@contextmanager
def native_files(
    plans: Sequence[SignalPlan], native: NativeProgram | None, min_duration_s: int, max_duration_s: int
) -> Iterator[list[Path]]:
    """Additional SUMO files that a native program needs; they are gone once SUMO has read them."""
    if native in (None, "fixed"):
        yield []
        return
    with tempfile.TemporaryDirectory(prefix="iotlam-program-") as folder:
        path, root = Path(folder) / f"{native}.add.xml", ET.Element("additional")
        for plan in plans:
            logic = ET.SubElement(
                root, "tlLogic", id=plan.signal, type=native, programID=f"iotlam-{native}", offset="0"
            )
            for duration_s, state in plan.program:
                phase = ET.SubElement(logic, "phase", duration=f"{duration_s:g}", state=state)
                if state in plan.green_states:
                    phase.set("minDur", str(min_duration_s))
                    phase.set("maxDur", str(max_duration_s))
        ET.ElementTree(root).write(path)
        yield [path]
