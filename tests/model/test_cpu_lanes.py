"""Pictures side by side get what they get alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from support.pictures import defective_picture, good_picture

from stream.model.bundle import load_bundle
from stream.model.cpu_lanes import Lanes
from stream.model.extractor import load_extractor
from stream.model.patchcore.preprocess import network_input
from stream.model.search_choice import quickest_bank
from stream.model.station_model import StationModel, inspect_batch


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_part_has_the_same_score_and_map_to_the_bit_alone_and_beside_others(small_bundle: Path, threads: int) -> None:
    bundle = load_bundle(small_bundle)
    spec = bundle.info.spec
    extractor = load_extractor(spec, device="openvino", threads=threads)
    judges = []
    for bank in (bundle.bank, bundle.bank[::3].copy()):
        patches = bundle.info.grid[0] * bundle.info.grid[1]
        memory = quickest_bank(bank, patches, device="openvino", lanes=extractor.lanes)
        judges.append(StationModel(bundle, extractor, memory, spec.key, frame_checks=True))
    pictures = [good_picture(900 + n) if n % 3 else defective_picture(900 + n) for n in range(7)]
    images = np.stack([network_input(picture, spec.input_px) for picture in pictures])
    stations = [judges[n % 2] for n in range(7)]
    alone = [next(inspect_batch([one], image[None])) for one, image in zip(stations, images, strict=True)]
    assert extractor.lanes is not None
    together = list(extractor.lanes.map(lambda one, image: next(inspect_batch([one], image[None])), stations, images))
    assert [found.inspection.score for found in together] == [found.inspection.score for found in alone]
    for found, expected in zip(together, alone, strict=True):
        np.testing.assert_array_equal(found.inspection.distances, expected.inspection.distances)
    np.testing.assert_array_equal(extractor(images), np.concatenate([extractor(image[None]) for image in images]))


def test_results_come_in_the_order_of_the_pictures() -> None:
    lanes, second_is_done = Lanes(2), threading.Event()

    def judge(number: int) -> int:
        if number == 0:
            assert second_is_done.wait(30)
        else:
            second_is_done.set()
        return number

    assert list(lanes.map(judge, range(5))) == [0, 1, 2, 3, 4]


def test_an_error_in_a_lane_reaches_whoever_waits_for_the_picture() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Lanes(2).map(lambda number: 1 // number, [1, 0, 1]))


def test_every_lane_is_warmed_up() -> None:
    lanes, warm = Lanes(3), []
    lanes.everywhere(lambda: warm.append(threading.get_ident()))
    assert len(set(warm)) == lanes.count == 4


def test_many_cores_are_shared_out_among_few_streams() -> None:
    assert (Lanes(32).streams, Lanes(32).cores) == (8, 32)


@pytest.mark.parametrize(("threads", "lanes"), [(1, 1), (2, 3), (4, 5)])
def test_one_picture_more_than_there_are_cores_is_under_way(threads: int, lanes: int) -> None:
    assert Lanes(threads).count == lanes


def test_lanes_that_begin_at_the_same_moment_do_not_block_each_other():
    program = """
        import sys, threading
        import numpy as np, openvino
        from openvino import opset13 as op
        from stream.model.cpu_lanes import Graph, Lanes

        lanes, together = Lanes(2), threading.Barrier(3)
        value = op.parameter([8], openvino.Type.f32)
        graph = Graph(openvino.Core(), openvino.Model([op.relu(value)], [value], "as it is"), lanes)
        sys.setswitchinterval(1e-6)  # seconds: threads take turns within a call

        def infer(number):
            together.wait()
            return float(graph(np.full(8, number, np.float32))[0][0])

        assert list(lanes.map(infer, range(3))) == [0, 1, 2]
    """
    for _ in range(3):
        subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True, timeout=60)
