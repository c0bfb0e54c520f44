"""The charts of an evaluation's page as inline SVG; their colours are the page's CSS classes."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.training.calibration_draws import ExpectedMisses
from stream.training.image_figures import MissCurve

Scores = NDArray[np.float64]

#: Size of a chart and the margins of its axes, in units of its view box.
_WIDTH, _LEFT, _RIGHT, _TOP = 640.0, 56.0, 16.0, 16.0
_CURVE_HEIGHT, _PANEL_HEIGHT, _PANEL_GAP, _AXIS_HEIGHT = 360.0, 130.0, 34.0, 48.0
#: Bins of a histogram, and the quantile of all scores from which on they share the last bin.
_BINS, _TAIL = 44, 0.985
#: Least height of a bar: one image among hundreds must be seen.
_LEAST_BAR = 3.0


class _Axis(NamedTuple):
    """Values `low` to `high` on the coordinates `begin` to `end`."""

    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value."""
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    def ticks(self, about: int) -> list[float]:
        """Return round values on the axis."""
        rough = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def miss_curve_chart(curve: MissCurve, now: tuple[float, float], expected: Sequence[ExpectedMisses]) -> str:
    """Return the chart of misses against false rejects, as far as false rejects are of interest.

    Args:
        curve: of the test images.
        now: (false rejects, misses) at the bundle's threshold.
        expected: drawn with the spread of the misses over the draws.
    """
    needed = max(0.1, 1.3 * now[0], *(1.2 * one.false_rejects for one in expected))
    x = _Axis(0, next((limit for limit in (0.1, 0.2, 0.5) if limit >= needed), 1.0), _LEFT, _WIDTH - _RIGHT)
    y = _Axis(0, 1, _CURVE_HEIGHT - _AXIS_HEIGHT, _TOP)
    shapes = [*_percent_grid(x, y), *_axis_titles(x, y, "good parts falsely rejected", "defective parts missed")]
    points = [f"{x(rejects):.1f},{y(misses):.1f}" for rejects, misses in zip(*curve, strict=True)]
    shapes.append(
        f'<clipPath id="curve"><rect x="{x.begin}" y="{y.end - 2}" width="{x.end - x.begin}" '
        f'height="{y.begin - y.end + 4}"/></clipPath>'
        f'<polyline class="curve" clip-path="url(#curve)" points="{" ".join(points)}"/>'
    )
    for one in expected:
        at = x(one.false_rejects)
        shapes.append(
            f'<g class="spread"><title>{_percent(one.rate)} wanted, {_percent(one.false_rejects)} realised: '
            f"{_percent(one.misses)} missed, {_percent(one.misses_p10)} to {_percent(one.misses_p90)}</title>"
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y(one.misses_p10):.1f}" y2="{y(one.misses_p90):.1f}"/>'
            f'<circle cx="{at:.1f}" cy="{y(one.misses):.1f}" r="4"/></g>'
        )
    shapes.append(
        f'<g class="now"><title>now: {_percent(now[0])} falsely rejected, {_percent(now[1])} missed</title>'
        f'<circle cx="{x(now[0]):.1f}" cy="{y(now[1]):.1f}" r="6"/></g>'
    )
    return _svg(_CURVE_HEIGHT, "Misses against false rejects", shapes)


def score_chart(good: Scores, defective: Scores, threshold: float) -> str:
    """Return the histograms of the scores of good and of defective images, one above the other.

    An edge of the bins is the threshold, so that a bar is right or wrong as a whole. The last bin holds all higher
    scores too.
    """
    edges = _edges(np.concatenate([good, defective]), threshold)
    x = _Axis(float(edges[0]), float(edges[-1]), _LEFT, _WIDTH - _RIGHT)
    below = _TOP + 2 * _PANEL_HEIGHT + _PANEL_GAP
    shapes = []
    for number, (name, scores, wrong) in enumerate((("good", good, True), ("defective", defective, False))):
        top = _TOP + number * (_PANEL_HEIGHT + _PANEL_GAP)
        counts = _histogram(scores, edges)
        y = _Axis(0, max(1, counts.max()), top + _PANEL_HEIGHT, top)
        shapes += [
            f'<line class="grid" x1="{x.begin}" x2="{x.end}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>',
            f'<text class="tick" x="{x.begin - 8}" y="{y(y.high) + 4:.1f}" text-anchor="end">{counts.max()}</text>',
            f'<text class="tick" x="{x.begin - 8}" y="{y(0) + 4:.1f}" text-anchor="end">0</text>',
            f'<text class="label {name}" x="{x.end}" y="{top + 10}" text-anchor="end">{len(scores)} {name}</text>',
        ]
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
            if count:
                above = low >= threshold - 1e-9 * (high - low)
                height = max(_LEAST_BAR, y(0) - y(count))
                shapes.append(
                    f'<rect class="{"wrong" if above == wrong else name}" x="{x(low) + 0.5:.1f}" '
                    f'width="{max(1.0, x(high) - x(low) - 1):.1f}" y="{y(0) - height:.1f}" height="{height:.1f}">'
                    f"<title>{count} {name}, score {low:.4g} to {high:.4g}</title></rect>"
                )
    at = x(threshold)
    side, shift = ("end", -6) if at > (x.begin + x.end) / 2 else ("start", 6)
    shapes += [
        f'<line class="threshold" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP - 8}" y2="{below}"/>',
        f'<text class="label" x="{at + shift:.1f}" y="{_TOP + _PANEL_HEIGHT + _PANEL_GAP / 2 + 6}" '
        f'text-anchor="{side}">threshold {threshold:.4g}</text>',
    ]
    for tick in x.ticks(6):
        shapes.append(f'<text class="tick" x="{x(tick):.1f}" y="{below + 18}" text-anchor="middle">{tick:g}</text>')
    shapes.append(
        f'<text class="title" x="{(x.begin + x.end) / 2}" y="{below + 38}" text-anchor="middle">image score</text>'
    )
    return _svg(below + _AXIS_HEIGHT, "Histograms of the image scores", shapes)


def _edges(scores: Scores, threshold: float) -> Scores:
    finite = scores[np.isfinite(scores)]
    low, high = min(float(finite.min()), threshold), max(float(np.quantile(finite, _TAIL)), threshold)
    width = (high - low) / _BINS or 1.0
    before = max(1, math.ceil((threshold - low) / width))
    after = max(1, math.ceil((high - threshold) / width))
    return np.asarray(threshold + width * np.arange(-before, after + 1), np.float64)


def _histogram(scores: Scores, edges: Scores) -> NDArray[np.int64]:
    """Count scores in bins without their lower edge, as a score equal to the threshold passes."""
    bins = np.searchsorted(edges, scores, side="left") - 1
    return np.bincount(np.clip(bins, 0, len(edges) - 2), minlength=len(edges) - 1)


def _percent_grid(x: _Axis, y: _Axis) -> Iterator[str]:
    for tick in y.ticks(5):
        yield f'<line class="grid" x1="{x.begin}" x2="{x.end}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        yield f'<text class="tick" x="{x.begin - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.0%}</text>'
    for tick in x.ticks(5):
        yield f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{y.begin}" y2="{y.end}"/>'
        yield f'<text class="tick" x="{x(tick):.1f}" y="{y.begin + 18}" text-anchor="middle">{tick:.0%}</text>'


def _axis_titles(x: _Axis, y: _Axis, horizontal: str, vertical: str) -> Iterator[str]:
    yield f'<text class="title" x="{(x.begin + x.end) / 2}" y="{y.begin + 38}" text-anchor="middle">{horizontal}</text>'
    middle = (y.begin + y.end) / 2
    yield (
        f'<text class="title" x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">'
        f"{vertical}</text>"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _svg(height: float, name: str, shapes: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{html.escape(name)}">{"".join(shapes)}</svg>'
    )
