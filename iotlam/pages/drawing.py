"""Charts and pictures of pages: matplotlib's SVG whose colours are CSS variables, and PNG in data URIs."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from io import BytesIO, StringIO
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

PAINT = {
    "page": ("#fdfdfc", "#14171b"),
    "ink": ("#1a1e24", "#e8eaed"),
    "muted": ("#5b6570", "#a3adb8"),
    "rule": ("#dfe3e8", "#333a43"),
    "wash": ("#e9ecef", "#272d34"),
    "soft": ("#eef5fa", "#1a2834"),
    "blue": ("#0072b2", "#4aa8e0"),
    "grey": ("#8b929b", "#8d96a1"),
    "charcoal": ("#3b424b", "#d5dae0"),
    "orange": ("#e69f00", "#f0b02e"),
    "purple": ("#cc79a7", "#d98fb8"),
    "olive": ("#9a8c00", "#f0e442"),
    "sky": ("#56b4e9", "#56b4e8"),
    "vermilion": ("#d55e00", "#ef7f2c"),
    "green": ("#009e73", "#1fb98c"),
    "go": ("#0b8a5f", "#2fc993"),
    "stop": ("#b5403a", "#d9635c"),
    "height0": ("#46327e", "#7b62c4"),
    "height1": ("#365c8d", "#5a8fd0"),
    "height2": ("#277f8e", "#3fb0bf"),
    "height3": ("#1fa187", "#4fd0a8"),
    "height4": ("#8fc93a", "#c3e55a"),
}
"""Colours by name, on light and on dark: Okabe and Ito's for what is compared, viridis for heights."""

HUES = ("sky", "vermilion", "green", "orange", "purple", "blue", "olive", "height0", "stop", "charcoal")
"""Colours for things that are compared, in order."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "iotlam",
    "font.size": 9.0,
    "text.color": PAINT["ink"][0],
    "axes.edgecolor": PAINT["rule"][0],
    "axes.labelcolor": PAINT["muted"][0],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": PAINT["rule"][0],
    "grid.linewidth": 0.6,
    "xtick.color": PAINT["muted"][0],
    "ytick.color": PAINT["muted"][0],
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "lines.solid_capstyle": "round",
}
_VARIABLE = {light: f"var(--{name})" for name, (light, _) in PAINT.items()}
_NOISE = re.compile(r'<metadata>.*?</metadata>|<!--.*?-->|(?<=<g) id="[^"]*"', re.DOTALL)
"""Dates, comments, and names of groups, which would not be unique on the page."""

WIDE_IN, NARROW_IN = 9.2, 4.3


def light(name: str) -> str:
    """The colour that becomes the CSS variable of that name."""
    return PAINT[name][0]


def drawn(width_in: float, height_in: float, label: str, draw: Callable[[Figure], None]) -> Markup:
    """An inline SVG that scales with its container and takes the page's font and colours.

    Args:
        width_in: width at which text has its nominal size, inches.
        height_in: height, inches.
        label: what it shows, for readers who do not see it.
        draw: fills the figure.
    """
    with matplotlib.rc_context(_STYLE):
        figure, text = Figure((width_in, height_in)), StringIO()
        draw(figure)
        FigureCanvasSVG(figure).print_svg(text)  # type: ignore[no-untyped-call]  # savefig draws twice
    svg = _NOISE.sub("", text.getvalue()[text.getvalue().index("<svg") :])
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', _opening(label), svg, count=1)
    return Markup(re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLE.get(match[0], match[0]), svg))


def _opening(label: str) -> str:
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return rf'<svg {names} \1 role="img" aria-label="{escape(label)}">'


def responsive(height_in: float, label: str, draw: Callable[[Figure], None]) -> Markup:
    """A chart drawn twice: for a page, and for a phone."""
    return Markup('<div class="wide">{}</div><div class="narrow" aria-hidden="true">{}</div>').format(
        drawn(WIDE_IN, height_in, label, draw), drawn(NARROW_IN, height_in, label, draw)
    )


def frame(figure: Figure) -> None:
    """Room for a line of label and numbers of four digits; measuring it (`tight_layout`) takes as long as drawing."""
    width_in, height_in = figure.get_size_inches()
    figure.subplots_adjust(0.6 / width_in, 0.45 / height_in, 1.0 - 0.2 / width_in, 1.0 - 0.1 / height_in)


def data_uri(image_HWC: NDArray[np.uint8]) -> str:
    """PNG in a data URI."""
    png = BytesIO()
    imsave(png, image_HWC, format="png")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def gradient(name: str) -> str:
    """CSS of one of matplotlib's colour maps, left to right."""
    colours: Any = (matplotlib.colormaps[name](np.linspace(0.0, 1.0, 9))[:, :3] * 255.0).round().astype(int)
    return f"linear-gradient(90deg, {', '.join('rgb({} {} {})'.format(*colour) for colour in colours)})"
