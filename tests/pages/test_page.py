"""Pages are written whole or not at all, over none but our own, in colours that follow the theme."""

from __future__ import annotations

from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam.pages.drawing import PAINT, drawn
from iotlam.pages.page import check_page, write_html

CONTENTS = {"word": "<b>5 & 6</b>", "facts": {}, "commands": ["iotlam"], "versions": {"iotlam": "1"}}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template" / "page.html.j2"
    path.parent.mkdir()
    path.write_text('{% extends "base.html.j2" %}{% block main %}{{ word }}{% endblock %}')
    return path


def test_text_is_escaped_and_the_style_is_ours(template: Path, tmp_path: Path) -> None:
    text = write_html(template, CONTENTS, tmp_path / "new" / "page.html").read_text()
    assert "&lt;b&gt;5 &amp; 6&lt;/b&gt;" in text
    assert all(f"--{name}: {one}" in text for name, pair in PAINT.items() for one in pair)


def test_failed_writing_leaves_nothing(template: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "page.html").mkdir(parents=True)
    with pytest.raises(BadInput, match="a file that can be written"):
        write_html(template, CONTENTS, folder / "page.html")
    assert [child.name for child in folder.iterdir()] == ["page.html"]


def test_only_our_own_page_is_replaced(template: Path, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    check_page(path)  # none
    check_page(write_html(template, CONTENTS, path))
    path.write_text("<html>my home page</html>")
    with pytest.raises(BadInput, match="index.html: expected no page, or one of iotlam's, got another; name another"):
        check_page(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="got another"):
        check_page(path)


def test_colours_follow_the_theme() -> None:
    svg = drawn(2.0, 1.0, 'a "chart"', lambda figure: figure.text(0.5, 0.5, "word"))
    assert "fill: var(--ink)" in svg and PAINT["ink"][0] not in svg
    assert 'aria-label="a &#34;chart&#34;"' in svg and "<metadata" not in svg
    light = [one for one, _ in PAINT.values()]
    assert len(set(light)) == len(light)  # a colour stands for one variable
