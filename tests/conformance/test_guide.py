"""The guide for a stranger's sensor, done as it says: every command, the diff, and nothing of iotlam edited."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "bring-a-sensor.md"
BLOCK = re.compile(r"^```(sh|diff)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = {
    "iotlam": "from iotlam.cli.main import run; run()",
    "pip": "from pip._internal.cli.main import main; raise SystemExit(main())",
    "pytest": "import pytest; raise SystemExit(pytest.console_main())",
}


def blocks() -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(GUIDE.read_text(encoding="utf-8"))]


def environment(folder: Path) -> dict[str, str]:
    """An environment of its own that sees all that is installed here, so that the package is not installed for all."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "here.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for name, code in COMMANDS.items():
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\nif __name__ == '__main__':\n    {code}\n")
        script.chmod(0o755)
    pip = {
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
    }  # "0" is how pip is told not to isolate
    return {**os.environ, **pip, "PATH": f"{folder}/bin{os.pathsep}{os.environ['PATH']}"}


def test_an_author_changes_few_lines() -> None:
    (diff,) = [text for kind, text in blocks() if kind == "diff"]
    changed = [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert 0 < len(changed) <= 40


@pytest.mark.slow
def test_the_guide_leads_to_a_page_that_shows_the_new_sensor(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="pip builds the package with hatchling, which is not installed")
    variables, output = environment(tmp_path / "venv"), ""
    work = tmp_path / "work"
    work.mkdir()
    for kind, text in blocks():
        command = ["bash", "-euc", text] if kind == "sh" else ["git", "apply", "--directory=barometer", "-"]
        options = {"input": text} if kind == "diff" else {}
        done = subprocess.run(
            command, cwd=work, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        output += done.stdout
    assert output.count("tier: platinum") == 2 and "| units | hPa |" in output and "110 passed" in output
    assert "barometer" in (work / "iotlam-demo" / "sensors.html").read_text(encoding="utf-8")
