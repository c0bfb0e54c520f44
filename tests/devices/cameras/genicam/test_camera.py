from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("genicam", reason="comes with the extra `genicam`")

from support.node_maps import NodeMap

from stream.core.errors import CameraError
from stream.core.verdict import Cause
from stream.devices.cameras.genicam.camera import GenicamCameraOptions, camera_settings
from stream.devices.cameras.genicam.device_clock import WINDOW_NS, DeviceClock
from stream.devices.cameras.genicam.frame_ids import MOST_LOST, gap, lost_frames
from stream.devices.cameras.genicam.nodes import Setting, apply, execute, if_there, needed
from stream.devices.cameras.genicam.pixel_formats import pixels_of
from stream.devices.cameras.reconnecting import CameraLost

MS = 1_000_000


# Frames that never came


@pytest.mark.parametrize(("previous", "current"), [(None, 7), (0, 1), (7, 8), (65535, 1), (65535, 0)])
def test_frames_that_follow_each_other_lose_nothing(previous: int | None, current: int):
    assert gap(previous, current) is None


@pytest.mark.parametrize(("previous", "current"), [(5000, 1), (5000, 0), (7, 7), (2**40, 1), (30_000, 3)])
def test_a_camera_that_counts_anew_has_lost_nothing(previous: int, current: int):
    assert gap(previous, current) is None


def test_every_number_between_two_frames_is_a_lost_frame():
    found = gap(11, 14)
    assert found is not None
    assert found.lost == 2
    assert str(found) == "the camera's frames 12 to 13 were lost"
    assert str(gap(11, 13)) == "the camera's frame 12 was lost"


def test_frames_lost_while_a_16_bit_number_runs_over_are_counted():
    found = gap(65533, 3)
    assert found is not None
    assert found.lost == 4
    assert str(found) == "the camera's frames 65534 to 2 were lost"
    assert str(gap(65535, 2)) == "the camera's frame 1 was lost"
    assert str(gap(65534, 1)) == "the camera's frame 65535 was lost"


def test_a_damaged_frame_that_was_told_is_not_lost_once_more():
    assert gap(11, 13, incomplete=1) is None
    found = gap(11, 15, incomplete=1)
    assert found is not None
    assert found.lost == 2
    assert str(found) == "2 of the camera's frames 12 to 14 were lost"


def test_a_jump_of_the_numbers_announces_a_bounded_number_of_frames():
    found = gap(1, 2**50)
    assert found is not None
    assert found.lost == MOST_LOST
    assert len(lost_frames(found, 0, 1)) == MOST_LOST


def test_lost_frames_are_faults_spread_between_their_neighbours():
    found = gap(11, 14)
    assert found is not None
    frames = lost_frames(found, 100, 400)
    assert [frame.captured_ns for frame in frames] == [200, 300]
    for frame in frames:
        assert frame.image is None
        assert frame.fault is not None
        assert frame.fault.cause is Cause.CAMERA_FAULT
        assert frame.fault.detail == "the camera's frames 12 to 13 were lost"


# The camera's clock


def test_the_first_frame_counts_from_its_arrival():
    assert DeviceClock().captured_ns(5, 1000) == 1000


def test_later_frames_are_told_by_the_quickest_way_seen():
    clock = DeviceClock()
    ways_ms = [8, 3, 9, 30, 4]
    told = [clock.captured_ns(100 * MS * n, 7777 * MS + (100 * n + way) * MS) for n, way in enumerate(ways_ms)]
    exposed = [7777 * MS + 100 * n * MS for n in range(len(ways_ms))]
    assert [(when - exact) // MS for when, exact in zip(told, exposed, strict=True)] == [8, 3, 3, 3, 3]


def test_no_frame_is_told_later_than_it_arrived():
    clock = DeviceClock()
    random = np.random.default_rng(0)
    for n in range(1000):
        arrived_ns = n * 100 * MS + int(random.integers(0, 90 * MS))
        assert clock.captured_ns(n * 101 * MS, arrived_ns) <= arrived_ns


def test_a_drifting_clock_is_followed_within_its_window():
    clock = DeviceClock()
    # The camera's second is 0.1 ms short: after half an hour the first offset would be 180 ms wrong.
    for n in range(18_000):
        exposed_ns = n * 100 * MS
        told = clock.captured_ns(int(exposed_ns * 0.9999), exposed_ns + 2 * MS)
    assert abs(told - exposed_ns) <= 2 * MS + 2 * WINDOW_NS // 10_000


def test_a_clock_that_was_set_anew_is_learned_anew():
    clock = DeviceClock()
    clock.captured_ns(10**15, 1000 * MS)
    clock.captured_ns(10**15 + 100 * MS, 1100 * MS)
    assert clock.captured_ns(0, 1200 * MS) == 1200 * MS
    assert clock.captured_ns(100 * MS, 1303 * MS) == 1300 * MS


def test_what_was_seen_before_a_long_silence_does_not_count():
    clock = DeviceClock()
    clock.captured_ns(0, 0)
    late_ns = 3 * WINDOW_NS
    assert clock.captured_ns(late_ns - 5 * MS, late_ns) == late_ns


# Pixel formats

RED_BGR = [0, 0, 255]


@pytest.mark.parametrize(
    ("number", "red_at"),
    [(0x01080009, (0, 0)), (0x01080008, (0, 1)), (0x0108000A, (1, 0)), (0x0108000B, (1, 1))],
    ids=["BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8"],
)
def test_a_red_scene_is_red_through_every_bayer_pattern(number: int, red_at: tuple[int, int]):
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[red_at[0] :: 2, red_at[1] :: 2] = 255
    image = pixels_of(mosaic.reshape(-1), number, 8, 8)
    assert image.shape == (8, 8, 3)
    np.testing.assert_array_equal(image[3:5, 3:5], np.full((2, 2, 3), RED_BGR))


@pytest.mark.parametrize(
    ("number", "red"),
    [(0x02180014, [255, 0, 0]), (0x02180015, RED_BGR), (0x02200016, [255, 0, 0, 9]), (0x02200017, [*RED_BGR, 9])],
    ids=["RGB8", "BGR8", "RGBa8", "BGRa8"],
)
def test_colours_keep_their_order(number: int, red: list[int]):
    data = np.tile(np.array(red, np.uint8), 6)
    np.testing.assert_array_equal(pixels_of(data, number, 3, 2), np.full((2, 3, 3), RED_BGR))


def test_grey_has_one_channel_and_padding_is_cut_off():
    data = np.array([1, 2, 99, 3, 4, 99], np.uint8)
    image = pixels_of(data, 0x01080001, 2, 2, padding=1)
    np.testing.assert_array_equal(image, [[1, 2], [3, 4]])


@pytest.mark.parametrize("number", [0x01080001, 0x02180015], ids=["Mono8", "BGR8"])
def test_the_picture_outlives_the_buffer_it_came_in(number: int):
    data = np.full(12, 7, np.uint8)
    image = pixels_of(data, number, 2, 2)
    data[:] = 0
    assert (image == 7).all()


def test_too_few_bytes_and_unknown_formats_are_no_picture():
    with pytest.raises(ValueError, match=r"11 bytes are no picture of 2×2 px in RGB8"):
        pixels_of(np.zeros(11, np.uint8), 0x02180014, 2, 2)
    with pytest.raises(ValueError, match=r"0x01100003 cannot be read; set pixel_format to one of Mono8, "):
        pixels_of(np.zeros(8, np.uint8), 0x01100003, 2, 2)


# Settings


def options(**given: object) -> GenicamCameraOptions:
    return GenicamCameraOptions.model_validate({"kind": "genicam", **given})


def test_a_value_that_is_taken_stands_in_the_camera():
    nodes = NodeMap().integer("Width", 16, 640, 4).choice("PixelFormat", "Mono8", "BayerRG8")
    node_map = nodes.real("ExposureTime", 10, 10_000).load()
    apply(node_map, camera_settings(options(width=128, pixel_format="BayerRG8", exposure_us=1005)))
    assert node_map.Width.value == 128
    assert node_map.PixelFormat.value == "BayerRG8"
    assert node_map.ExposureTime.value == 1005


@pytest.mark.parametrize(
    ("node", "value", "said"),
    [
        ("Width", 130, r"Width: the camera refuses 130; it accepts 16 to 640 in steps of 4 \(.*dividable"),
        ("Width", 1000, r"Width: the camera refuses 1000; it accepts 16 to 640"),
        ("Width", "wide", r"Width: the camera refuses 'wide'; it accepts 16 to 640"),
        ("ExposureTime", 5.0, r"ExposureTime: the camera refuses 5\.0; it accepts 10 to 10000"),
        ("PixelFormat", "RGB8", r"PixelFormat: the camera refuses 'RGB8'; it accepts Mono8, BayerRG8"),
        ("Fixed", 5, r"Fixed: the camera refuses 5; .*not writable"),
        ("TriggerSoftware", True, r"TriggerSoftware: the camera refuses True; it accepts no value at all"),
        ("Widht", 128, r"Widht: the camera has no such node, so it cannot be set to 128; similar: Width"),
    ],
)
def test_a_value_that_is_refused_is_named_with_what_the_camera_accepts(node: str, value: bool | int, said: str):
    nodes = NodeMap().integer("Width", 16, 640, 4).choice("PixelFormat", "Mono8", "BayerRG8")
    node_map = nodes.real("ExposureTime", 10, 10_000).integer("Fixed", 1, 9, access="RO").command("TriggerSoftware")
    with pytest.raises(CameraLost, match=said) as refusal:
        apply(node_map.load(), [needed(node, value)])
    assert "\n" not in str(refusal.value)
    assert "thrown" not in str(refusal.value)


def test_a_camera_that_takes_a_value_and_holds_another_is_refused():
    nodes = NodeMap().integer("Width", 16, 640, 4)
    nodes.registers.stubborn.add(nodes.addresses["Width"])
    with pytest.raises(CameraLost, match="Width: the camera took 128 but holds 16; it accepts 16 to 640"):
        apply(nodes.load(), [needed("Width", 128)])


def test_a_locked_node_that_holds_the_value_already_is_left_alone():
    apply(NodeMap().choice("TriggerMode", "Off", "On", access="RO").load(), [needed("TriggerMode", "Off")])


def test_an_optional_node_that_is_missing_is_passed_over():
    nodes = NodeMap().integer("Width", 16, 640)
    apply(nodes.load(), [if_there("AcquisitionMode", "Continuous"), needed("Width", 20)])
    assert nodes.registers.written == [nodes.addresses["Width"]]


def test_older_cameras_are_set_by_their_older_names():
    node_map = NodeMap().real("ExposureTimeAbs", 10, 10_000).load()
    apply(node_map, [Setting(("ExposureTime", "ExposureTimeAbs"), 500.0)])
    assert node_map.ExposureTimeAbs.value == 500


def test_a_camera_that_counts_whole_microseconds_takes_a_whole_number():
    node_map = NodeMap().integer("ExposureTime", 10, 10_000).load()
    apply(node_map, camera_settings(options(exposure_us=500)))
    assert node_map.ExposureTime.value == 500
    with pytest.raises(CameraLost, match=r"ExposureTime: the camera refuses 500\.5; it accepts 10 to 10000"):
        apply(node_map, camera_settings(options(exposure_us=500.5)))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "harvesters.core", None)
    with pytest.raises(CameraError, match=r"need the extra `genicam`: pip install 'patchline\[genicam\]'"):
        options(producer="any.cti").open()


def test_a_camera_that_went_away_while_it_is_set_is_lost_in_one_line():
    nodes = NodeMap().integer("Width", 16, 640)
    nodes.registers.gone = True
    with pytest.raises(CameraLost, match=r"Width: .*does not answer"):
        apply(nodes.load(), [needed("Width", 20)])


def trigger_nodes() -> NodeMap:
    nodes = NodeMap().choice("TriggerSelector", "AcquisitionStart", "FrameStart").choice("TriggerMode", "Off", "On")
    nodes.choice("TriggerSource", "Line0", "Line1", "Software").choice("TriggerActivation", "RisingEdge", "FallingEdge")
    return nodes.command("TriggerSoftware")


def test_a_software_trigger_is_switched_on_and_executed():
    nodes = trigger_nodes()
    node_map = nodes.load()
    apply(node_map, camera_settings(options(trigger_mode="software", trigger={"kind": "rate", "rate_hz": 5})))
    assert [node_map.get_node(name).value for name in ("TriggerSelector", "TriggerMode", "TriggerSource")] == [
        "FrameStart", "On", "Software",
    ]  # fmt: skip
    execute(node_map, "TriggerSoftware")
    assert nodes.registers.written[-1] == nodes.addresses["TriggerSoftware"]


def test_a_hardware_trigger_names_its_line_and_edge():
    node_map = trigger_nodes().load()
    apply(node_map, camera_settings(options(trigger_mode="hardware", trigger_line="Line1", trigger_edge="falling")))
    assert node_map.TriggerSource.value == "Line1"
    assert node_map.TriggerActivation.value == "FallingEdge"
    with pytest.raises(
        CameraLost, match="TriggerSource: the camera refuses 'Line7'; it accepts Line0, Line1, Software"
    ):
        apply(node_map, camera_settings(options(trigger_mode="hardware", trigger_line="Line7")))


def test_a_free_running_camera_that_waited_for_triggers_is_set_free():
    node_map = trigger_nodes().load()
    apply(node_map, camera_settings(options(trigger_mode="software", trigger={"kind": "rate", "rate_hz": 5})))
    apply(node_map, camera_settings(options()))
    assert node_map.TriggerMode.value == "Off"


def test_a_command_that_the_camera_does_not_have_is_said():
    with pytest.raises(CameraLost, match="the camera has no command TriggerSoftware"):
        execute(NodeMap().integer("Width", 16, 640).load(), "TriggerSoftware")


def test_the_region_leaves_its_offset_before_it_grows():
    names = [setting.nodes[0] for setting in camera_settings(options(width=640, height=480, offset_x=8, offset_y=0))]
    assert [name for name in names if name in ("OffsetX", "OffsetY", "Width", "Height")] == [
        "OffsetX", "OffsetY", "Width", "Height", "OffsetX", "OffsetY",
    ]  # fmt: skip


def test_other_nodes_are_set_before_the_options():
    settings = camera_settings(options(nodes={"BinningHorizontal": 2}, width=320))
    assert settings[0] == needed("BinningHorizontal", 2)


def test_automatic_exposure_and_gain_are_switched_off_for_fixed_values():
    settings = camera_settings(options(exposure_us=500, gain_db=3))
    names = [setting.nodes[0] for setting in settings]
    assert names.index("ExposureAuto") < names.index("ExposureTime")
    assert names.index("GainAuto") < names.index("Gain")


def test_what_nobody_asked_for_is_left_as_the_camera_stands():
    settings = camera_settings(options())
    assert {setting.nodes[0] for setting in settings} == {"AcquisitionMode", "TriggerSelector", "TriggerMode"}
    assert not any(setting.needed for setting in settings)
