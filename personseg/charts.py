"""The report's charts, as inline SVG whose colours are the page's CSS variables (so they follow light and dark)."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from personseg.results import backend_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib draws with these stand-ins; `_svg` turns each into a CSS variable.
INK, MUTED, GRID, FIRST, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", FIRST: "--series-1", SECOND: "--series-2"}

STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: the page's own font, selectable
    "svg.hashsalt": "personseg",  # the same data gives the same bytes
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.left": False,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
}
NARROW, WIDE = 4.4, 4.8  # inches; the page scales a drawing to its column, on a phone to about this
LOWEST_BIN = 0.80  # photos below it share the leftmost bar
LEAST_SPAN = 0.01  # of an axis of IoU: a hundredth of a point is to look like one


@contextmanager
def _drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: Figure, description: str) -> str:
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, f"var({variable})")
    # Element ids but those that are referred to (clip paths, markers) would repeat from chart to chart.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    body = text[text.index(">") + 1 :]
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view.group()}'
    return f'{opening} role="img" aria-label="{description}">{body}'


def learning_curve(history: pd.DataFrame, quantity: str, title: str, best_epoch: int) -> str:
    """Train and val curves of `quantity` (`loss` or `iou`) over epochs; the best epoch is marked."""
    from matplotlib.ticker import MaxNLocator

    with _drawing(NARROW, 2.8) as (figure, axes):
        for name, colour in (("train", FIRST), ("val", SECOND)):
            marker = "o" if len(history) < 3 else None
            axes.plot(history["epoch"], history[f"{name}_{quantity}"], color=colour, label=name, marker=marker)
        best = history.loc[history["epoch"] == best_epoch, f"val_{quantity}"]
        if len(best):
            axes.plot([best_epoch], best, "o", color=SECOND, markersize=7, label=f"kept: epoch {best_epoch}")
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        axes.legend(loc="best")
        return _svg(figure, f"{title} of train and val photos over {len(history)} epochs")


def iou_histogram(images: pd.DataFrame) -> pd.DataFrame:
    """Bin per-image IoU in steps of 0.01: columns split, iou (lower edge), images, share of the split."""
    edges = np.round(np.arange(LOWEST_BIN, 1.0001, 0.01), 2)
    rows = []
    for split in ("val", "test"):
        values = images.loc[images["split"] == split, "iou"].to_numpy()
        counts, _ = np.histogram(np.clip(values, LOWEST_BIN, 1.0), bins=edges)
        rows += [(split, edge, count, count / max(1, len(values))) for edge, count in zip(edges, counts, strict=False)]
    return pd.DataFrame(rows, columns=["split", "iou", "images", "share"])


def iou_distribution(images: pd.DataFrame) -> str:
    """Per-image IoU of the test photos as bars, of the val photos as an outline, in percent of each split."""
    table = iou_histogram(images)
    with _drawing(NARROW, 2.8) as (figure, axes):
        val, test = (table[table["split"] == split] for split in ("val", "test"))
        axes.bar(test["iou"], test["share"] * 100, width=0.0085, align="edge", color=FIRST, label="test")
        edges = np.append(val["iou"], 1.0)
        axes.stairs(val["share"] * 100, edges, color=SECOND, linewidth=2, label="val")
        axes.set(xlabel="IoU of one photo", ylabel="% of the photos", xlim=(LOWEST_BIN - 0.003, 1.003))
        ticks = [LOWEST_BIN, 0.85, 0.90, 0.95, 1.0]
        axes.set_xticks(ticks, [f"≤ {LOWEST_BIN:.2f}", *(f"{tick:.2f}" for tick in ticks[1:])])
        axes.grid(axis="x", visible=False)
        axes.legend(loc="upper left")
        return _svg(figure, "How many val and test photos reach which IoU")


def _logarithmic(axes: Axes) -> None:
    """Give a time axis a logarithmic scale with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("ms per photo, batch 1 (logarithmic)")


def latency(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Median latency per backend, fastest on top, with a line to the 99th percentile; milliseconds."""
    names = sorted(measured, key=lambda name: (measured[name]["p50_s"], name))
    p50, p99 = ([measured[name][key] * 1e3 for name in names] for key in ("p50_s", "p99_s"))
    rows = range(len(names))
    with _drawing(WIDE, 0.9 + 0.36 * len(names)) as (figure, axes):
        axes.plot(p50, rows, "o", color=FIRST, markersize=8, label="median")
        axes.hlines(rows, p50, p99, color=FIRST, linewidth=4, alpha=0.45, label="up to the 99th percentile")
        for row, middle, end in zip(rows, p50, p99, strict=True):
            text = f"{middle:.1f}" if middle < 100 else f"{middle:.0f}"
            axes.annotate(text, (end, row), xytext=(8, 0), textcoords="offset points", va="center")
        axes.set_yticks(rows, [backend_title(name).replace(", ", ",\n") for name in names])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel("ms per photo, batch 1")
        low, high = min(p50), max(p99)
        if high > 8 * low:
            _logarithmic(axes)
            axes.set_xlim(low / 1.4, high * 2)
        else:
            axes.set_xlim(0, high * 1.2)
        axes.grid(axis="y", visible=False)
        figure.legend(loc="outside upper right", ncols=2, fontsize=10)
        return _svg(figure, "Median latency per runtime, in milliseconds")


class Point(NamedTuple):
    """What one runtime or variant costs and reaches."""

    name: str
    ms: float
    iou: float


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other is as quick as and better, or quicker than and as good; quickest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.ms, -point.iou, point.name)):
        if not front or point.iou > front[-1].iou:
            front.append(point)
    return front


def _name_above(figure: Figure, axes: Axes, front: Sequence[Point]) -> None:
    """Name the points of a front over the axes, each with a line down to it; above a front nothing else lies.

    A name that would run into one on its right is put a row higher, so no line crosses a name either.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import offset_copy

    def above(row: int) -> Any:
        return offset_copy(axes.get_xaxis_transform(), figure, y=3 + 13 * row, units="points")

    line = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.7, "relpos": (0, 0), "shrinkA": 0, "shrinkB": 5}
    names = [
        axes.annotate(p.name, (p.ms, p.iou), xytext=(p.ms, 1), textcoords=above(0), fontsize=10, arrowprops=line)
        for p in front
    ]
    figure.draw_without_rendering()  # lays the axes out
    boxes = [Text.get_window_extent(name) for name in names]  # without their lines
    rows: list[int] = []  # of the names from the last to this one, last first
    for index in range(len(names) - 1, -1, -1):
        hit = [row for row, box in zip(rows, boxes[:index:-1], strict=True) if box.x0 < boxes[index].x1 + 6]
        rows.append(max(hit) + 1 if hit else 0)
        names[index].anncoords = above(rows[-1])


def latency_against_iou(points: Sequence[Point], ylabel: str) -> str:
    """Each point at its median ms (x) and IoU (y); those of the Pareto front are joined and named."""
    front = pareto_front(points)
    chosen = set(front)
    low, high = (bound([point.ms for point in points]) for bound in (min, max))
    with _drawing(WIDE, 3.2) as (figure, axes):
        others = [point for point in points if point not in chosen]
        axes.plot(
            [p.ms for p in others], [p.iou for p in others], "o", color=MUTED, alpha=0.6, label="not on the front"
        )
        ends = [*front, Point("", high, front[-1].iou)]  # slower ones are no better
        x, y = [point.ms for point in ends], [point.iou for point in ends]
        axes.plot(x, y, color=FIRST, drawstyle="steps-post", alpha=0.45)
        axes.plot(x[:-1], y[:-1], "o", color=FIRST, markersize=8, label="front: nothing is quicker and as good")
        axes.set(xlabel="ms per photo, batch 1", ylabel=ylabel)
        if high > 8 * low:
            _logarithmic(axes)
        axes.margins(x=0.12, y=0.2)
        bottom, top = axes.get_ylim()
        span = max(top - bottom, LEAST_SPAN)
        axes.set_ylim(top - span, top + span / 10)
        _name_above(figure, axes, front)
        figure.legend(loc="outside upper right", ncols=2, fontsize=10)
        return _svg(figure, f"{ylabel} against median latency in milliseconds, with the Pareto front")
