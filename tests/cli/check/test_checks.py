"""What `patchline check` finds before a line runs, each with what to do."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import cv2
import pytest
from support.outputs import make_certificates
from support.pictures import part_picture, write_picture
from support.running import free_ports

from stream.cli.check.checks import Check, check_line
from stream.cli.check.unfit_pictures import check_pictures
from stream.core.errors import BundleError
from stream.core.images import read_image
from stream.line.config import LineConfig, parse
from stream.model.patchcore.alignment import taught
from stream.training.fit import fit
from stream.training.fit_options import FitOptions
from stream.transport.sockets import make_keys


def line(folder: Path, good: Path, bundle: Path, **changes: Any) -> LineConfig:
    data = {
        "line": "test",
        "cameras": {"top": {"kind": "folder", "path": str(good), "rate_hz": 50}},
        "stations": {"cap": {"camera": "top", "bundle": str(bundle)} | changes.pop("station", {})},
        "actuators": {"gate": {"kind": "log", "path": "rejects.jsonl"}},
        "store": {"path": "store"},
        "metrics": {"listen": f"127.0.0.1:{free_ports(8)}"},
        "dashboard": {"enabled": False},
    } | changes
    return parse(json.dumps(data), name="line.yaml", folder=folder)


def results(config: LineConfig) -> dict[str, Check]:
    return {result.what: result for result in check_line(config, wait_s=2.0)}


def wrong(config: LineConfig) -> dict[str, str]:
    return {what: result.found for what, result in results(config).items() if result.wrong}


def test_a_line_in_order_has_nothing_wrong_and_a_frame_inspected(good_folder: Path, small_bundle: Path, tmp_path: Path):
    found = results(line(tmp_path, good_folder, small_bundle))
    assert [result.what for result in found.values() if result.wrong] == []
    assert found["cameras.top"].found == "a frame of 160×120 px"
    assert found["stations.cap"].found.startswith(("GOOD, score", "DEFECT, score"))
    assert found["actuators.gate"].found == "log: connected; no pulse was fired"
    assert (tmp_path / "rejects.jsonl").read_text() == "", "no pulse was fired"
    assert {"store.path", "sockets", "disk", "clock", "stations.cap.bundle", "metrics of sink"} <= found.keys()


def test_how_the_part_lies_in_the_frame_is_said(small_bundle: Path, tmp_path: Path):
    good, parts = tmp_path / "good", tmp_path / "parts"
    for folder in (good, parts):
        folder.mkdir()
    for seed in range(8):
        write_picture(good / f"{seed}.png", part_picture(seed))
    alignment = taught(part_picture(0), [(52, 42, 136, 116)], reference="0.png")
    bundle = tmp_path / "aligned.safetensors"
    fit(good, bundle, FitOptions(size_px=64, coreset=0.1, roi=(50, 40, 140, 120), alignment=alignment))
    write_picture(parts / "0.png", part_picture(5, x_px=12.0, y_px=-9.0, angle_deg=3.0))
    found = results(line(tmp_path, parts, bundle))["stations.cap"]
    assert not found.wrong
    said = re.search(r", part moved by (\S+), (\S+) px and (\S+)°, match (0\.\d\d|1\.00)", found.found)
    assert said is not None, found.found
    assert [float(said[number]) for number in (1, 2, 3)] == pytest.approx([12.0, -9.0, 3.0], abs=0.4)

    write_picture(parts / "0.png", part_picture(5, x_px=55.0))
    found = results(line(tmp_path, parts, bundle))["stations.cap"]
    assert found.doubtful
    assert found.found.startswith("this frame would be UNINSPECTED(not_found): ")


def test_everything_that_is_wrong_is_found_in_one_run(good_folder: Path, small_bundle: Path, tmp_path: Path):
    (tmp_path / "store").write_text("in the way")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = wrong(
            line(
                tmp_path,
                good_folder,
                small_bundle,
                stations={
                    "cap": {"camera": "top", "bundle": str(small_bundle), "roi": [100, 0, 160, 120]},
                    "lid": {"camera": "top", "bundle": "absent.safetensors"},
                },
                actuators={"gate": {"kind": "modbus", "host": "plc.invalid", "coil": 1}},
                encoders={"belt": {"kind": "modbus", "host": "plc.invalid", "input_register": 1}},
                dashboard={"listen": f"127.0.0.1:{port}"},
                cameras={"top": {"kind": "folder", "path": str(good_folder)}},
            )
        )
    assert found.keys() == {
        *("store.path", "dashboard.listen", "stations.lid.bundle", "stations.cap", "actuators.gate", "encoders.belt"),
    }
    assert "a file is in the place of a folder" in found["store.path"]
    assert "Address already in use; end what is there, or change dashboard.listen" in found["dashboard.listen"]
    assert "no such bundle; make it with `patchline fit" in found["stations.lid.bundle"]
    assert "too small for region 100,0,160,120; set stations.cap.roi" in found["stations.cap"]
    assert "host name 'plc.invalid' is unknown" in found["actuators.gate"]
    assert "host name 'plc.invalid' is unknown" in found["encoders.belt"]


def test_a_camera_that_cannot_be_opened_is_named(small_bundle: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    found = wrong(line(tmp_path, tmp_path / "empty", small_bundle))
    assert list(found) == ["cameras.top"]
    assert "empty" in found["cameras.top"]


@pytest.fixture
def gray(good_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "gray"
    folder.mkdir()
    for path in sorted(good_folder.iterdir())[:5]:
        picture = cv2.cvtColor(read_image(path), cv2.COLOR_BGR2GRAY)
        assert cv2.imwrite(str(folder / path.name), picture)
    return folder


def test_colours_that_the_bundle_has_not_learned_are_an_error_at_the_start(
    gray: Path, good_folder: Path, small_bundle: Path, tmp_path: Path
):
    with pytest.raises(BundleError, match=r"stations\.cap: none of the first pictures .* gray, but the bundle learned"):
        check_pictures(line(tmp_path, gray, small_bundle))
    assert "check the camera's pixel format" in wrong(line(tmp_path, gray, small_bundle))["stations.cap"]
    check_pictures(line(tmp_path, gray, small_bundle, station={"frame_checks": False}))
    shutil.copy(sorted(good_folder.iterdir())[0], gray / "zz.png")
    check_pictures(line(tmp_path, gray, small_bundle))  # one of them can be inspected


@pytest.mark.parametrize(
    "camera",
    [
        {"kind": "folder", "rate_hz": 50},
        {"kind": "conveyor", "belt_px": [200, 160], "rate_hz": 50},
    ],
    ids=lambda camera: camera["kind"],
)
def test_a_region_that_no_picture_holds_is_an_error_at_the_start(
    good_folder: Path, small_bundle: Path, tmp_path: Path, camera: dict[str, Any]
):
    station = {"roi": [500, 20, 160, 120]}
    cameras = {"top": camera | {"path": str(good_folder)}}
    with pytest.raises(BundleError, match=r"stations\.cap: .*too small for region 500,20,160,120; set"):
        check_pictures(line(tmp_path, good_folder, small_bundle, station=station, cameras=cameras))


@pytest.fixture
def film(good_folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "parts.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (160, 120))
    for picture in sorted(good_folder.iterdir())[:10]:
        writer.write(read_image(picture))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("trigger", "found"),
    [
        ({"kind": "http", "port": 1}, "trigger.port: cannot listen on 127.0.0.1:1"),
        ({"kind": "mqtt", "host": "broker.invalid", "topic": "parts"}, "host name 'broker.invalid' is unknown"),
        ({"kind": "modbus", "host": "plc.invalid", "address": 1}, "host name 'plc.invalid' is unknown"),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_a_trigger_without_a_connection_is_named(
    film: Path, small_bundle: Path, tmp_path: Path, trigger: dict[str, Any], found: str
):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if "port" in trigger:
            trigger = trigger | {"port": taken.getsockname()[1]}
            found = found.replace(":1", f":{trigger['port']}")
        cameras = {"top": {"kind": "video", "path": str(film), "trigger": trigger}}
        assert found in wrong(line(tmp_path, film, small_bundle, cameras=cameras))["cameras.top.trigger"]


def test_a_trigger_that_is_ready_says_so(film: Path, small_bundle: Path, tmp_path: Path):
    trigger = {"kind": "http", "port": free_ports(1)}
    cameras = {"top": {"kind": "video", "path": str(film), "trigger": trigger}}
    found = results(line(tmp_path, film, small_bundle, cameras=cameras))["cameras.top.trigger"]
    assert found == ("cameras.top.trigger", "http: ready; no part was triggered", False, False)


def test_sockets_between_hosts_need_a_free_port_of_this_host(good_folder: Path, small_bundle: Path, tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port, free = taken.getsockname()[1], free_ports(1)
        addresses = {"announcements": f"tcp://127.0.0.1:{port}", "results": f"tcp://127.0.0.1:{free}"}
        found = results(line(tmp_path, good_folder, small_bundle, transport=addresses))
    assert (
        "Address already in use; end what is there, or change transport.anno" in found["transport.announcements"].found
    )
    assert found["transport.announcements"].wrong
    assert found["transport.results"] == ("transport.results", f"127.0.0.1:{free} is free", False, False)


def test_a_folder_of_sockets_that_others_could_write_to_is_wrong(good_folder: Path, small_bundle: Path, tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    found = wrong(line(tmp_path, good_folder, small_bundle, transport={"announcements": f"ipc://{shared}/announced"}))
    assert "another user could take a socket's place" in found["sockets"]
    assert str(shared) in found["sockets"]


def test_sockets_of_another_host_are_not_wrong_here(good_folder: Path, small_bundle: Path, tmp_path: Path):
    keys = make_keys(tmp_path / "keys")
    found = results(
        line(
            tmp_path,
            good_folder,
            small_bundle,
            transport={"announcements": "tcp://203.0.113.9:5701", "keys": str(keys)},
        )
    )["transport.announcements"]
    assert not found.wrong
    assert found.found.startswith("203.0.113.9:5701 is no address of this host: sink has to run on the one")


@pytest.mark.parametrize("key", ["server.key", "other.key"])
def test_the_dashboards_certificate_belongs_to_its_key(good_folder: Path, small_bundle: Path, tmp_path: Path, key: str):
    make_certificates(tmp_path)
    (tmp_path / "other.key").write_text("no key")
    dashboard = {
        "listen": f"127.0.0.1:{free_ports(1)}",
        "certificate": str(tmp_path / "server.pem"),
        "key": str(tmp_path / key),
    }
    found = results(line(tmp_path, good_folder, small_bundle, dashboard=dashboard))["dashboard.certificate"]
    assert found.wrong == (key != "server.key")
    assert str(tmp_path / "server.pem") in found.found
