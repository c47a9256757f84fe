"""Figures as SVG text: deterministic, without fonts or network; labels are text, never markup."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from xml.sax.saxutils import escape

from beam_bert.errors import printable
from beam_bert.reports.evaluation import CalibrationPoint, Confusion, Metric

BLUE, GREY, RED = "#1f5fa8", "#8a8f98", "#b3261e"
MOST_CONFUSION_LABELS = 40
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: the reader's fonts know more scripts than ours
    "svg.hashsalt": "beam_bert",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#333",
    "text.parse_math": False,  # a label may hold a $
}
_LABEL_CHARACTERS = 28


class MissingExtra(ImportError):
    """The extra [report] is not installed."""

    @classmethod
    def of(cls, error: ImportError) -> MissingExtra:
        """What to do where one of its packages is not there."""
        return cls(f"{error.name} is not installed; pip install 'beam-bert[report]'")


def _figure(width: float, height: float, title: str, draw: Callable[[Any], None]) -> str:
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra.of(error) from None
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        stream = io.StringIO()
        with warnings.catch_warnings():
            # Our fonts measure the text; the reader's, which may know the glyph, show it.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]  # without the XML header, which HTML has no place for
    told = escape("".join(c if c.isprintable() else " " for c in title), {'"': "&quot;"})
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{told}"', 1)
    svg = svg.replace(">", f"><title>{told}</title>", 1)
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def calibration_curve(points: Sequence[CalibrationPoint]) -> str:
    """Confidence against how often it was right; the diagonal is what it should be."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        x = [point.confidence for point in points]
        y = [point.right.value for point in points]
        low = [point.right.value - (point.right.low or 0) for point in points]
        high = [(point.right.high or 1) - point.right.value for point in points]
        axes.errorbar(
            x, y, yerr=[low, high], color=BLUE, fmt="o-", markersize=4, linewidth=1.2, capsize=2
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.set_xlabel("confidence of the answer")
        axes.set_ylabel("share that is right")

    return _figure(4.2, 4.0, "Calibration: confidence against the share that is right", draw)


def confusion_heatmap(confusion: Confusion) -> str:
    """Share of each true label's rows by given label; many labels: those with most mistakes."""
    support = [sum(row) for row in confusion.counts]
    given = [sum(column) for column in zip(*confusion.counts, strict=True)]
    mistakes = [
        s + g - 2 * row[i]
        for i, (s, g, row) in enumerate(zip(support, given, confusion.counts, strict=True))
    ]
    shown = sorted(range(len(support)), key=lambda i: (-mistakes[i], -support[i]))
    shown = shown[:MOST_CONFUSION_LABELS]
    shown = sorted(i for i in shown if support[i] or given[i])
    shares = [[confusion.counts[i][j] / max(support[i], 1) for j in shown] for i in shown]
    names = [_short(confusion.labels[i]) for i in shown]

    def draw(axes: Any) -> None:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        axes.set_xlabel("given")
        axes.set_ylabel("true")
        if len(shown) <= 12:
            for y, i in enumerate(shown):
                for x, j in enumerate(shown):
                    color = "white" if shares[y][x] > 0.5 else "#333"
                    text = f"{confusion.counts[i][j]:,}"
                    axes.text(x, y, text, ha="center", va="center", color=color, fontsize=8)

    side = 2.2 + 0.22 * len(shown) + (0.25 * len(shown) if len(shown) <= 12 else 0)
    return _figure(side + 0.6, side, "Confusion: true labels against given ones", draw)


def intervals(
    names: Sequence[str],
    metrics: Sequence[Metric],
    label: str,
    *,
    whole: float | None = None,
    marked: Sequence[bool] = (),
) -> str:
    """A dot and its interval for each name, from the top down; `whole` is a line through all."""

    def draw(axes: Any) -> None:
        if whole is not None:
            axes.axvline(whole, color=GREY, linewidth=1, linestyle="--")
        for place, metric in enumerate(metrics):
            color = RED if place < len(marked) and marked[place] else BLUE
            if metric.low is not None and metric.high is not None:
                axes.plot([metric.low, metric.high], [place, place], color=color, linewidth=1.4)
            axes.plot([metric.value], [place], "o", color=color, markersize=4)
        axes.set_yticks(range(len(names)), [_short(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="x", color="#e4e6ea", linewidth=0.7)

    return _figure(6.4, 0.9 + 0.2 * len(names), label, draw)


def histogram(edges: Sequence[int], counts: Sequence[int], label: str) -> str:
    """Rows by length; the last bin holds all that is longer."""

    def draw(axes: Any) -> None:
        # The last bin reaches to the longest row: drawn as wide as the others, marked with a plus.
        width = edges[1] - edges[0] if len(edges) > 1 else 1
        lefts = list(edges[:-1])
        widths = [*(b - a for a, b in pairwise(edges[:-1])), width]
        axes.bar(lefts, counts, width=widths, align="edge", color=BLUE, edgecolor="white")
        axes.set_xlabel(label)
        axes.set_ylabel("rows")
        axes.locator_params(axis="y", integer=True)

    return _figure(6.4, 2.4, f"Rows by {label}", draw)


def _short(name: str) -> str:
    name = printable(name).replace("\n", " ")  # XML has no control characters
    return name if len(name) <= _LABEL_CHARACTERS else name[: _LABEL_CHARACTERS - 1] + "…"
