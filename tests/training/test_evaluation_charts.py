from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray

from stream.training.calibration_draws import ExpectedMisses
from stream.training.evaluation_charts import miss_curve_chart, score_chart
from stream.training.image_figures import miss_curve

Scores = NDArray[np.float64]


def shapes(svg: str, tag: str, name: str) -> list[ElementTree.Element]:
    return [found for found in ElementTree.fromstring(svg).iter(tag) if found.get("class") == name]


def bars(svg: str) -> dict[str, int]:
    """How many images the bars of each class stand for."""
    counts: dict[str, int] = {}
    for found in ElementTree.fromstring(svg).iter("rect"):
        title = found.find("title")
        assert title is not None
        assert title.text is not None
        name = str(found.get("class"))
        counts[name] = counts.get(name, 0) + int(title.text.split()[0])
    return counts


@pytest.mark.parametrize("threshold", [-3.0, 0.0, 0.37, 2.0, 50.0])
@pytest.mark.parametrize("offset", [0.0, -100.0])
def test_every_image_is_in_a_bar_and_every_wrong_one_in_a_wrong_bar(threshold: float, offset: float) -> None:
    random = np.random.default_rng(4)
    good, defective = random.normal(size=200) + offset, random.normal(2, 1, 100) + offset
    threshold += offset
    counts = bars(score_chart(good, defective, threshold))
    false_rejects, misses = int(np.sum(good > threshold)), int(np.sum(defective <= threshold))
    assert counts.get("wrong", 0) == false_rejects + misses
    assert counts.get("good", 0) == 200 - false_rejects
    assert counts.get("defective", 0) == 100 - misses


def test_a_score_equal_to_the_threshold_is_on_its_lower_side() -> None:
    assert bars(score_chart(np.array([1.0, 2.0]), np.array([2.0, 3.0]), 2.0)) == {"good": 2, "wrong": 1, "defective": 1}


@pytest.mark.parametrize(
    ("good", "defective", "threshold"),
    [
        (np.ones(3), np.ones(2), 1.0),
        (np.ones(3), np.empty(0), 1.0),
        (np.array([1.0, np.inf]), np.array([1e30]), 5.0),
        (np.array([-1e-9, 1e-9]), np.array([0.0]), 1e9),
    ],
)
def test_odd_scores_still_make_a_chart(good: Scores, defective: Scores, threshold: float) -> None:
    svg = score_chart(good, defective, threshold)
    assert sum(bars(svg).values()) == len(good) + len(defective)
    assert not re.search(r'"(nan|inf|-inf)', svg)


def test_one_false_reject_among_thousands_can_be_seen() -> None:
    svg = score_chart(np.append(np.zeros(5000), 9.0), np.full(10, 9.5), 5.0)
    (wrong,) = shapes(svg, "rect", "wrong")
    assert float(wrong.get("height", 0)) >= 3


def test_the_curve_is_drawn_with_the_present_threshold_and_the_spread_of_the_draws() -> None:
    good, defective = np.arange(100.0), np.arange(50.0, 150)
    expected = [ExpectedMisses(rate=0.05, misses=0.4, misses_p10=0.3, misses_p90=0.5, false_rejects=0.06)]
    svg = miss_curve_chart(miss_curve(good, defective), (0.04, 0.45), expected)
    (line,) = shapes(svg, "polyline", "curve")
    assert len(str(line.get("points")).split()) == len(miss_curve(good, defective).misses)
    (spread,), (now,) = shapes(svg, "g", "spread"), shapes(svg, "g", "now")
    assert "5.0% wanted, 6.0% realised: 40.0% missed, 30.0% to 50.0%" in str(spread.findtext("title"))
    assert "4.0% falsely rejected, 45.0% missed" in str(now.findtext("title"))


@pytest.mark.parametrize("false_rejects", [0.0, 0.09, 0.3, 1.0])
def test_the_present_threshold_is_on_the_chart_however_many_it_rejects(false_rejects: float) -> None:
    svg = miss_curve_chart(miss_curve(np.arange(9.0), np.arange(9.0)), (false_rejects, 0.5), [])
    (now,) = shapes(svg, "g", "now")
    circle = now.find("circle")
    assert circle is not None
    assert 0 < float(circle.get("cx", 0)) < 640
