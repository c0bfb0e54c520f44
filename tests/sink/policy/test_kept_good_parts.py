from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.sink.policy.kept_good_parts import KeptGoodPart, KeptGoodParts

PLENTY = 10**9


def offer(
    kept: KeptGoodParts,
    seq: int,
    score: float,
    hour: int = 0,
    station: str = "cap",
    size_bytes: int = 100,
    bundle: str = "aa",
) -> list[int] | None:
    """Offer a part; returns the numbers of those that it displaces, None where it is not kept at all."""
    kept_as = kept.kept_as(station, bundle, seq, hour, score)
    if kept_as is None:
        return None
    return [part.seq for part in kept.add(KeptGoodPart(station, bundle, seq, hour, score, kept_as, size_bytes))]


def test_the_highest_scores_of_an_hour_are_kept_and_displace_lower_ones():
    kept = KeptGoodParts(per_hour=2, one_in=0, budget_bytes=PLENTY)
    offered = [(0, 1.0), (1, 3.0), (2, 0.5), (3, 2.0), (4, 2.5), (5, 2.4)]
    assert [offer(kept, seq, score) for seq, score in offered] == [[], [], None, [0], [3], None]
    assert (len(kept), kept.size_bytes) == (2, 200)


def test_of_equal_scores_the_earlier_part_stays():
    kept = KeptGoodParts(per_hour=1, one_in=0, budget_bytes=PLENTY)
    assert offer(kept, 1, 3.0) == []
    assert offer(kept, 2, 3.0) is None


def test_each_station_and_each_hour_has_its_own():
    kept = KeptGoodParts(per_hour=1, one_in=0, budget_bytes=PLENTY)
    assert offer(kept, 0, 9.0) == []
    assert offer(kept, 1, 1.0, hour=1) == []
    assert offer(kept, 0, 1.0, station="label") == []
    assert offer(kept, 7, -3.0, bundle="bb") == [], "another bundle, of another scale"
    assert offer(kept, 2, 8.0) is None, "a late part of the first hour"
    assert offer(kept, 3, 2.0, hour=1) == [1]


def test_a_sample_stays_whatever_its_score_and_takes_no_place_of_a_near_miss():
    kept = KeptGoodParts(per_hour=1, one_in=1, budget_bytes=PLENTY)
    assert kept.kept_as("cap", "aa", 0, 0, -5.0) == "sample"
    assert [offer(kept, seq, 10.0 - seq) for seq in range(5)] == [[]] * 5
    assert len(kept) == 5


def test_nothing_is_kept_where_neither_is_wanted():
    kept = KeptGoodParts(per_hour=0, one_in=0, budget_bytes=PLENTY)
    assert offer(kept, 0, 99.0) is None


def test_when_the_budget_is_full_the_oldest_hour_goes_first_and_in_it_the_lowest_score():
    kept = KeptGoodParts(per_hour=3, one_in=0, budget_bytes=400)
    for seq, score in enumerate((2.0, 1.0, 3.0)):
        assert offer(kept, seq, score) == []
    assert offer(kept, 3, 0.1, hour=1) == []
    assert offer(kept, 4, 0.2, hour=1) == [1]
    assert offer(kept, 5, 0.3, hour=1) == [0]
    assert offer(kept, 6, 0.4, hour=2, size_bytes=250) == [2, 3, 4]
    assert kept.size_bytes == 350


def test_a_part_larger_than_the_whole_budget_is_not_kept():
    kept = KeptGoodParts(per_hour=3, one_in=0, budget_bytes=400)
    assert offer(kept, 7, 1.0, size_bytes=401) == [7]
    assert (len(kept), kept.size_bytes) == (0, 0)


def test_a_part_that_a_user_has_marked_stays_and_its_place_is_free():
    kept = KeptGoodParts(per_hour=1, one_in=0, budget_bytes=250)
    marked = KeptGoodPart("cap", "aa", 0, 0, 1.0, "near_miss", 100)
    assert kept.add(marked) == []
    assert offer(kept, 1, 2.0) == [0]
    kept.protect(marked)
    assert kept.size_bytes == 200
    assert offer(kept, 2, 3.0) == [1]
    assert offer(kept, 3, 1.0, hour=1) == [2], "it counts against the budget"
    assert kept.add(marked) == [], "read again from the store"


parts = st.tuples(st.sampled_from(["cap", "label"]), st.integers(0, 3), st.floats(-5, 5), st.integers(1, 300))


@given(st.lists(parts, max_size=60), st.integers(0, 4), st.integers(0, 3))
def test_never_more_than_the_budget_and_the_number_of_an_hour(
    offered: list[tuple[str, int, float, int]], per_hour: int, one_in: int
):
    kept = KeptGoodParts(per_hour=per_hour, one_in=one_in, budget_bytes=1000)
    here: dict[tuple[str, int], KeptGoodPart] = {}
    for seq, (station, hour, score, size_bytes) in enumerate(offered):
        kept_as = kept.kept_as(station, "aa", seq, hour, score)
        if kept_as is None:
            continue
        part = here[station, seq] = KeptGoodPart(station, "aa", seq, hour, score, kept_as, size_bytes)
        for displaced in kept.add(part):
            assert here.pop((displaced.station, displaced.seq)) == displaced
        assert kept.size_bytes == sum(part.size_bytes for part in here.values()) <= 1000
        near = [(part.station, part.hour) for part in here.values() if part.kept_as == "near_miss"]
        assert all(near.count(key) <= per_hour for key in near)
