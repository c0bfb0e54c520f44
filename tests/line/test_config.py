from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream.core.errors import ConfigError
from stream.line.config import LineConfig, load, parse

LINE = """
line: bottling-3
cameras:
  top: {kind: folder, path: parts}
stations:
  cap:
    camera: top
    bundle: models/cap.safetensors
    roi: [120, 80, 512, 512]
    deadline_ms: 150
    reject: {actuator: gate, transport_delay_ms: 420, pulse_ms: 60}
actuators:
  gate: {kind: log, path: gate.jsonl}
workers: [{device: torch-cpu, max_batch: 4}, {threads: 1}]
"""


def read(text: str) -> LineConfig:
    return parse(text, name="line.yaml", folder=Path("/factory"))


def refusal(text: str) -> str:
    """The error of a configuration that must not be accepted, without the numbers of lines."""
    with pytest.raises(ConfigError) as error:
        read(text)
    return re.sub(r" \(line \d+\)$", "", str(error.value), flags=re.MULTILINE)


def changed(old: str, new: str) -> str:
    """The line above with one change."""
    assert LINE.count(old) == 1
    return LINE.replace(old, new)


def test_a_line_is_read_as_it_is_written():
    line = read(LINE)
    cap = line.stations["cap"]
    assert line.line == "bottling-3"
    assert cap.roi == (120, 80, 512, 512)
    assert cap.deadline_ms == 150
    assert cap.reject is not None
    assert (cap.reject.actuator, cap.reject.transport_delay_ms, cap.reject.pulse_ms) == ("gate", 420, 60)
    assert [worker.device for worker in line.workers] == ["torch-cpu", "auto"]
    assert [worker.max_batch for worker in line.workers] == [4, 8]


def test_three_entries_make_a_line():
    line = read("{line: a, cameras: {c: {kind: folder, path: p}}, stations: {s: {camera: c, bundle: b}}}")
    assert line.stations["s"].mode == "triggered"
    assert line.worker_names == ["worker0"]
    assert line.stations["s"].reject is None


def test_an_uninspected_part_is_rejected_unless_the_camera_runs_free():
    assert read(LINE).stations["cap"].uninspected_policy == "reject"
    assert read(changed("camera: top", "camera: top\n    mode: freerun")).stations["cap"].uninspected_policy == "ignore"
    chosen = read(changed("camera: top", "camera: top\n    mode: freerun\n    on_uninspected: pass"))
    assert chosen.stations["cap"].uninspected_policy == "pass"


def test_a_configuration_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        read(LINE).stations["cap"].deadline_ms = 5


def test_two_cameras_of_one_name_are_refused_with_the_line():
    text = changed(
        "  top: {kind: folder, path: parts}", "  top: {kind: folder, path: a}\n  top: {kind: folder, path: b}"
    )
    with pytest.raises(ConfigError, match=r'^line\.yaml:5: duplicate key "top"'):
        read(text)


def test_a_key_given_twice_is_refused_at_any_depth():
    assert 'duplicate key "deadline_ms"' in refusal(
        changed("deadline_ms: 150", "deadline_ms: 150\n    deadline_ms: 90")
    )
    assert 'duplicate key "line"' in refusal(LINE + "line: other\n")


def test_an_unknown_key_is_refused_with_a_suggestion():
    message = refusal(changed("deadline_ms: 150", "dedline_ms: 150"))
    assert message == "line.yaml: stations.cap: unknown key 'dedline_ms'; did you mean 'deadline_ms'?"


def test_an_unknown_key_like_no_other_is_refused_with_the_known_ones():
    message = refusal(LINE + "zzz: 1\n")
    assert "unknown key 'zzz'" in message
    assert all(key in message for key in ("line", "cameras", "stations", "actuators", "workers", "store"))


def test_an_unknown_key_of_a_camera_is_refused():
    message = refusal(changed("kind: folder, path: parts", "kind: folder, path: parts, rate_khz: 3"))
    assert message == "line.yaml: cameras.top: unknown key 'rate_khz'; did you mean 'rate_hz'?"


def test_a_station_that_names_an_unknown_camera_is_refused_with_the_known_ones():
    message = refusal(changed("camera: top", "camera: bottom"))
    assert message == "line.yaml: stations.cap.camera: no camera 'bottom'; known: top"


def test_a_station_that_names_an_unknown_actuator_is_refused_with_the_known_ones():
    message = refusal(changed("actuator: gate", "actuator: door"))
    assert message == "line.yaml: stations.cap.reject.actuator: no actuator 'door'; known: gate"


def test_a_camera_that_no_station_uses_is_refused():
    message = refusal(changed("  top: {kind", "  side: {kind: folder, path: s}\n  top: {kind"))
    assert "cameras.side: no station uses it" in message


@pytest.mark.parametrize(
    ("old", "new", "field", "given"),
    [
        ("deadline_ms: 150", "deadline_ms: soon", "stations.cap.deadline_ms", "'soon'"),
        ("deadline_ms: 150", "deadline_ms: 0", "stations.cap.deadline_ms", "0"),
        ("deadline_ms: 150", "deadline_ms: .inf", "stations.cap.deadline_ms", "inf"),
        ("deadline_ms: 150", "deadline_ms: .nan", "stations.cap.deadline_ms", "nan"),
        ("[120, 80, 512, 512]", "[-1, 80, 512, 512]", "stations.cap.roi.0", "-1"),
        ("[120, 80, 512, 512]", "[120, 80, 0, 512]", "stations.cap.roi.2", "0"),
        ("[120, 80, 512, 512]", "[120, 80, 512]", "stations.cap.roi", ""),
        ("max_batch: 4", "max_batch: 0", "workers.0.max_batch", "0"),
        ("device: torch-cpu", "device: tpu", "workers.0.device", "'tpu'"),
        ("transport_delay_ms: 420", "transport_delay_ms: -1", "stations.cap.reject.transport_delay_ms", "-1"),
        ("kind: folder, path: parts", "kind: folder, path: 7", "cameras.top.path", "7"),
        ("kind: folder, path: parts", "kind: folder, path: p, rate_hz: 0", "cameras.top.rate_hz", "0"),
        ("kind: log, path: gate.jsonl", "kind: log", "actuators.gate.path", "required"),
        ("line: bottling-3", "line: bottling 3", "line", "'bottling 3'"),
        ("  cap:", "  cap/left:", "stations.cap/left", ""),
    ],
)
def test_a_wrong_value_is_refused_with_file_field_and_value(old: str, new: str, field: str, given: str):
    message = refusal(changed(old, new))
    assert message.startswith(f"line.yaml: {field}")
    assert given in message
    assert "\n" not in message


def test_every_wrong_value_is_named_in_a_separate_line():
    message = refusal(changed("deadline_ms: 150", "deadline_ms: soon").replace("max_batch: 4", "max_batch: 0"))
    assert [line.split(": ")[1] for line in message.splitlines()] == [
        "stations.cap.deadline_ms",
        "workers.0.max_batch",
    ]


def test_an_unknown_kind_of_camera_is_refused_with_the_known_ones():
    message = refusal(changed("kind: folder", "kind: crystal_ball"))
    assert message.startswith("line.yaml: cameras.top")
    assert "crystal_ball" in message
    assert all(kind in message for kind in ("folder", "video", "conveyor"))


def test_a_camera_without_a_kind_is_refused():
    message = refusal(changed("kind: folder, path: parts", "path: parts"))
    assert message.startswith("line.yaml: cameras.top")
    assert "kind" in message


def test_an_unknown_kind_of_actuator_is_refused():
    message = refusal(changed("kind: log", "kind: catapult"))
    assert message.startswith("line.yaml: actuators.gate")
    assert "catapult" in message


@pytest.mark.parametrize("missing", ["cameras", "stations", "line"])
def test_a_line_without_an_essential_part_is_refused(missing: str):
    parts = {
        "line": "a",
        "cameras": "{c: {kind: folder, path: p}}",
        "stations": "{s: {camera: c, bundle: b}}",
    }
    del parts[missing]
    message = refusal("\n".join(f"{key}: {value}" for key, value in parts.items()))
    assert f"line.yaml: {missing}: " in message


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list", "null"])
def test_a_file_that_is_no_mapping_is_refused(text: str):
    assert refusal(text).startswith("line.yaml: expected a mapping")


@pytest.mark.parametrize("text", ["line: [", "line: 'open", "\tline: a", "a: b: c", "line: *nothing"])
def test_a_file_that_is_not_yaml_is_refused_in_one_line(text: str):
    message = refusal(text)
    assert message.startswith("line.yaml: not YAML: ")
    assert "\n" not in message


def test_yaml_that_would_run_code_is_refused():
    assert refusal("line: !!python/object/apply:os.system ['true']").startswith("line.yaml: ")


@pytest.mark.parametrize("field", ["announcements", "results"])
def test_tcp_beyond_this_host_needs_keys(field: str):
    transport = f"transport: {{{field}: 'tcp://10.0.0.5:5555'}}\n"
    message = refusal(LINE + transport)
    assert f"transport.{field}: 'tcp://10.0.0.5:5555' leaves this host unencrypted" in message
    assert "transport.keys" in message
    allowed = read(LINE + f"transport: {{{field}: 'tcp://10.0.0.5:5555', keys: keys}}\n")
    assert allowed.transport.keys == Path("/factory/keys")


@pytest.mark.parametrize("host", ["0.0.0.0", "*", "[::]", "eth0", "camera-host", "127.0.0.1.example.org"])
def test_every_host_but_loopback_is_beyond_this_host(host: str):
    message = refusal(LINE + f"transport: {{frames: {{top: 'tcp://{host}:5555'}}}}\n")
    assert "transport.frames.top" in message
    assert "unencrypted" in message


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5555", "tcp://localhost:5555", "tcp://[::1]:5555", "ipc:///run/x"]
)
def test_within_this_host_no_keys_are_needed(address: str):
    line = read(LINE + f"transport: {{results: '{address}', frames: {{top: '{address}'}}}}\n")
    assert line.results_address() == address
    assert line.frames_address("top") == address


@pytest.mark.parametrize(
    "address", ["udp://127.0.0.1:1", "127.0.0.1:5555", "tcp://127.0.0.1", "http://127.0.0.1:80", ""]
)
def test_an_address_of_another_kind_is_refused(address: str):
    message = refusal(LINE + f"transport: {{results: '{address}'}}\n")
    assert "transport.results: expected tcp://HOST:PORT or ipc://PATH" in message


def test_frames_of_an_unknown_camera_are_refused():
    message = refusal(LINE + "transport: {frames: {side: 'tcp://127.0.0.1:5555'}}\n")
    assert "transport.frames.side: no camera 'side'; known: top" in message


def test_without_addresses_every_socket_is_one_of_this_host_and_of_this_line():
    line = read(
        changed("  top: {kind", "  side: {kind: folder, path: s}\n  top: {kind").replace(
            "stations:", "stations:\n  left: {camera: side, bundle: b}"
        )
    )
    addresses = [
        line.announcements_address(),
        line.results_address(),
        *map(line.frames_address, line.cameras),
    ]
    assert all(address.startswith("ipc://") for address in addresses)
    assert len(set(addresses)) == 4
    other = parse(LINE, name="line.yaml", folder=Path("/other-factory"))
    assert other.results_address() != line.results_address()
    # Unix socket paths end at 107 bytes.
    assert max(len(address.removeprefix("ipc://")) for address in addresses) <= 107


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "line.yaml").write_text(LINE + "store: {path: events}\ntransport: {keys: keys}\n")
    monkeypatch.chdir(tmp_path)
    line = load(Path("site/line.yaml"))
    site = tmp_path / "site"
    assert line.stations["cap"].bundle == site / "models/cap.safetensors"
    assert line.cameras["top"].path == site / "parts"
    assert line.actuators["gate"].path == site / "gate.jsonl"
    assert line.store.path == site / "events"
    assert line.state == site / "events" / "state"
    assert line.transport.keys == site / "keys"


def test_the_store_is_beside_the_file_also_by_default():
    assert read(LINE).store.path == Path("/factory/events")
    assert read(LINE + "store: {keep_days: 3}\n").store.path == Path("/factory/events")


def test_absolute_paths_stay_as_they_are():
    assert read(changed("models/cap.safetensors", "/srv/cap.safetensors")).stations["cap"].bundle == Path(
        "/srv/cap.safetensors"
    )


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load(tmp_path / "nowhere.yaml")


def test_a_folder_or_an_image_is_no_configuration(tmp_path: Path):
    (tmp_path / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    for path in (tmp_path, tmp_path / "picture.yaml"):
        with pytest.raises(ConfigError) as error:
            load(path)
        assert str(error.value).startswith(f"{path}: ")


def test_every_process_has_metrics_at_a_separate_port():
    line = read(LINE + "metrics: {listen: '0.0.0.0:9464'}\n")
    addresses = {role: line.metrics_address(role) for role in line.roles}
    assert set(addresses) == {"sink", "worker0", "worker1", "capture-top", "supervisor", "dashboard"}
    assert addresses["sink"] == ("0.0.0.0", 9464)
    assert len(set(addresses.values())) == len(addresses)


def test_metrics_listen_on_ipv6_too_or_not_at_all():
    assert read(LINE + "metrics: {listen: '[::1]:9464'}\n").metrics_address("sink") == ("::1", 9464)
    assert read(LINE + "metrics: {listen: null}\n").metrics_address("sink") is None


@pytest.mark.parametrize("listen", ["9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", ":9464"])
def test_an_impossible_metrics_address_is_refused(listen: str):
    assert refusal(LINE + f"metrics: {{listen: '{listen}'}}\n").startswith("line.yaml: metrics")


def test_two_cameras_cannot_record_into_one_folder():
    camera = "{kind: folder, path: p, record: {path: frames}}"
    stations = "{s: {camera: a, bundle: b}, t: {camera: b, bundle: b}}"
    error = refusal(f"{{line: a, cameras: {{a: {camera}, b: {camera}}}, stations: {stations}}}")
    assert "several have record.path /factory/frames" in error


def test_an_alarm_that_can_never_happen_is_refused():
    message = refusal(LINE + "alarms: {defect: {n: 4, of: 3}}\n")
    assert message.startswith("line.yaml: alarms.defect: n: 4 of the last 3 can never happen")


HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA"


def test_by_default_the_dashboard_is_reached_from_this_host_only():
    dashboard = read(LINE).dashboard
    assert (dashboard.enabled, dashboard.local, dashboard.url) == (True, True, "http://127.0.0.1:8080")


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "10.0.0.5:8080", "line.factory:8080", "[::]:8080"])
def test_a_dashboard_that_other_hosts_can_reach_needs_users(listen: str):
    message = refusal(LINE + f"dashboard: {{listen: '{listen}'}}\n")
    assert message.startswith("line.yaml: dashboard: users: ")
    assert "patchline password" in message
    users = f"users: {{anna: {{password: '{HASH}', role: operator}}}}"
    dashboard = read(LINE + f"dashboard: {{listen: '{listen}', {users}}}\n").dashboard
    assert not dashboard.local
    assert dashboard.users["anna"].role == "operator"


def test_a_token_alone_does_not_open_a_dashboard_to_the_network():
    token = f"tokens: {{mes: {{sha256: '{'a' * 64}'}}}}"
    assert "users" in refusal(LINE + f"dashboard: {{listen: '0.0.0.0:8080', {token}}}\n")


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", ":8080"])
def test_an_impossible_address_of_the_dashboard_is_refused(listen: str):
    assert refusal(LINE + f"dashboard: {{listen: '{listen}'}}\n").startswith("line.yaml: dashboard")


def test_a_password_in_clear_text_is_refused():
    message = refusal(LINE + "dashboard: {users: {anna: {password: secret}}}\n")
    assert message.startswith("line.yaml: dashboard.users.anna.password: ")


def test_tls_needs_certificate_and_key():
    assert "both" in refusal(LINE + "dashboard: {certificate: line.pem}\n")
    assert read(LINE + "dashboard: {certificate: a.pem, key: b.pem}\n").dashboard.url == "https://127.0.0.1:8080"


def test_the_feed_leaves_this_host_only_with_keys():
    assert "transport.feed" in refusal(LINE + "transport: {feed: 'tcp://10.0.0.1:9503'}\n")


def test_a_gate_that_opens_on_good_shares_its_actuator_with_no_other_station():
    second = "  seal: {camera: top, bundle: b, reject: {actuator: gate, transport_delay_ms: 900}}\nactuators:"
    alone = changed("{actuator: gate,", "{actuator: gate, gate: open_on_good,")
    assert read(alone).stations["cap"].reject is not None
    assert read(LINE.replace("actuators:", second)).stations["seal"].reject is not None
    message = refusal(alone.replace("actuators:", second))
    assert "stations.cap.reject.gate: open_on_good" in message
    assert "its own actuator" in message


@pytest.mark.parametrize(
    ("gate", "problem"),
    [
        ("{kind: modbus, host: plc}", "give exactly one of them"),
        ("{kind: modbus, host: plc, coil: 1, holding_register: 2}", "give exactly one of them"),
        ("{kind: modbus, host: plc, coil: 1, on_value: 0}", "on_value"),
        ("{kind: modbus, host: plc, holding_register: 1, on_value: 7, off_value: 7}", "they must differ"),
        ("{kind: modbus, host: plc, coil: 1, heartbeat: {}}", "give exactly one of them"),
        ("{kind: opcua, url: 'http://plc', node: 'ns=2;s=a'}", "actuators.gate.url"),
        ("{kind: opcua, url: 'opc.tcp://plc', node: a}", "actuators.gate.node"),
        ("{kind: mqtt, host: broker, topic: a/#}", "actuators.gate.topic"),
        ("{kind: mqtt, host: broker, topic: a, verdict_topic: a}", "verdict_topic: 'a' is already the topic"),
        ("{kind: mqtt, host: broker, topic: a, heartbeat: {topic: a/verdict}}", "already the verdict_topic"),
        ("{kind: webhook, url: mes.example}", "actuators.gate.url"),
        ("{kind: relay}", "actuators.gate"),
    ],
)
def test_an_actuator_with_invalid_options_is_refused_with_its_field(gate: str, problem: str):
    message = refusal(changed("{kind: log, path: gate.jsonl}", gate))
    assert message.startswith("line.yaml: actuators.gate")
    assert problem in message


def test_a_password_is_not_printed_with_the_options():
    gate = "{kind: mqtt, host: broker, topic: a, username: line, password: s3cret}"
    assert "s3cret" not in repr(read(changed("{kind: log, path: gate.jsonl}", gate)))


COUNTED = changed("transport_delay_ms: 420", "encoder: belt, transport_counts: 900, tolerance_counts: 20")
ENCODERS = "encoders: {belt: {kind: simulated, rate_hz: 1000}}\n"


def test_a_reject_is_placed_by_time_or_by_the_counts_of_an_encoder():
    reject = read(COUNTED + ENCODERS).stations["cap"].reject
    assert reject is not None
    assert (reject.transport_delay_ms, reject.transport_counts, reject.tolerance_counts) == (None, 900, 20)
    assert "no encoder 'belt'; known: none" in refusal(COUNTED)
    neither = refusal(changed("transport_delay_ms: 420, ", ""))
    assert "stations.cap.reject: give either transport_delay_ms, or encoder" in neither
    both = refusal(changed("transport_delay_ms: 420", "transport_delay_ms: 420, transport_counts: 900"))
    assert "give either transport_delay_ms, or encoder" in both


@pytest.mark.parametrize(
    "belt",
    ["{kind: modbus, host: plc}", "{kind: modbus, host: plc, input_register: 1, wrap: 100000}", "{kind: wheel}"],
)
def test_an_encoder_with_invalid_options_is_refused(belt: str):
    message = refusal(COUNTED + ENCODERS.replace("{kind: simulated, rate_hz: 1000}", belt))
    assert message.startswith("line.yaml: encoders.belt")


@pytest.mark.parametrize("name", [".", "..", ".cap", "a/b"])
def test_a_name_that_is_no_visible_file_name_is_refused(name: str):
    assert "stations" in refusal(changed("  cap:", f'  "{name}":'))


def ruled(*rules: str) -> str:
    """The line above with these rules for its station."""
    return changed("deadline_ms: 150", f"deadline_ms: 150\n    rules: [{', '.join(rules)}]")


def test_the_rules_of_a_station_are_read_in_their_order():
    cap = read(
        ruled(
            "{name: dust, ignore_below: {area_mm2: 0.05}}",
            "{name: short scratches, zone: edge, within_spec: {length_mm: 0.2}, most: 3}",
            "{name: too many, more_than: 5}",
        )
    ).stations["cap"]
    assert [rule.name for rule in cap.rules] == ["dust", "short scratches", "too many"]
    assert (cap.rules[1].zone, cap.rules[1].most, cap.rules[2].more_than) == ("edge", 3, 5)
    assert read(LINE).stations["cap"].rules == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{name: a}", "rules.0: rule 'a': give one of ignore_below, within_spec and more_than"),
        ("{name: a, more_than: -1}", "rules.0.more_than: expected at least 0, got -1"),
        (
            "{name: a, ignore_below: {area_mm2: -2}}",
            "rules.0.ignore_below.area_mm2: expected more than 0 mm², got -2",
        ),
        ("{name: a, within_spec: {length_mm: 2 cm}}", "got '2 cm'; the unit is in the option's name: give 20"),
        ("{name: a, within_spec: {}}", "rules.0.within_spec: expected at least one limit of area_px, length_px"),
        ("{name: a, within_spec: {long_mm: 2}}", "unknown key 'long_mm'; did you mean 'length_mm'?"),
        ("{more_than: 3}", "rules.0.name: is required: any words; the verdict names its rule"),
        (
            "{name: a, more_than: 3}, {name: a, more_than: 4}",
            "several are named 'a'; a verdict names its rule, so give each its own name",
        ),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_with_its_field(rule: str, expected: str):
    text = refusal(ruled(rule))
    assert text.startswith("line.yaml: stations.cap")
    assert expected in text
    assert "\n" not in text
