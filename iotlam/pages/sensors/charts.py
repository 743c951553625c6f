"""Charts of the learning."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup
from matplotlib.figure import Figure

from iotlam.pages.drawing import light, responsive
from iotlam.pages.sensors.learning import Learned
from iotlam.pages.sensors.situations import CONTROL

FLOOR = 1e-3
"""Bits below this are drawn as this: the axis is logarithmic."""


def learning_chart(learned: Learned, colours: Mapping[str, str]) -> Markup:
    """Bits per token of each modality over the steps of learning, above the share of right answers."""
    step_N = [moment.step for moment in learned.history]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.0, 1.0])
        for name in learned.bits:
            bits_N = [max(moment.bits_per_token.get(name, 0.0), FLOOR) for moment in learned.history]
            style = {"linestyle": (0, (3, 2)), "linewidth": 1.6} if name == CONTROL else {"linewidth": 1.5}
            upper.plot(step_N, bits_N, color=light(colours[name]), **style)
        upper.set_yscale("log")
        upper.set_ylim(bottom=FLOOR)
        upper.set_ylabel("bits per token")
        upper.axvspan(0, learned.price_from, color=light("wash"), linewidth=0.0, zorder=0.0)
        upper.annotate("bits are free", (0.0, 0.0), (5, 5), xycoords="axes fraction", textcoords="offset points",
                       fontsize=8.0, color=light("muted"))  # fmt: skip
        upper.tick_params(axis="x", length=0.0)
        lower.plot(step_N, [100.0 * moment.accuracy for moment in learned.history], color=light("ink"), linewidth=1.4)
        lower.set(ylim=(0.0, 103.0), xlim=(0.0, step_N[-1]), ylabel="right (%)", xlabel="step of learning")
        figure.tight_layout(pad=0.4)

    return responsive(3.4, "Bits per token of each sensor, and the share of right answers, over the learning", draw)
