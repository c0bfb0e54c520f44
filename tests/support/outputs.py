"""What outputs switch in the tests: a PLC and an MQTT broker as processes, a receiver of webhooks as a thread."""

from __future__ import annotations

import datetime
import http.server
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from support.running import free_ports

GENEROUS_S = 20.0


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = GENEROUS_S) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, f"no {what} within {timeout_s} s"
        time.sleep(0.002)


class Write(NamedTuple):
    at_ns: int
    what: str
    value: int


class Server:
    """A process that listens on a port of 127.0.0.1, can be frozen, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "server.txt").open("ab") as said:
            self.process = subprocess.Popen(self.command(), stdout=said, stderr=said)
        wait_for(self._listens, f"answer at port {self.port}")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)


class Plc(Server):
    """A Modbus or OPC UA server that notes every write it carries out."""

    def __init__(self, folder: Path, kind: str) -> None:
        super().__init__(folder)
        self.kind = kind
        self.log = folder / f"{kind}.txt"
        self.log.touch()

    def command(self) -> list[str]:
        script = Path(__file__).with_name("device.py")
        return [sys.executable, str(script), self.kind, str(self.port), str(self.log)]

    def writes(self, what: str) -> list[Write]:
        rows = [line.split() for line in self.log.read_text().splitlines()]
        return [Write(int(row[0]), row[1], int(row[2])) for row in rows if len(row) == 3 and row[1] == what]

    def pulses(self, what: str) -> list[tuple[int, int]]:
        """When it was switched on and off (ns); writes that changed nothing do not count."""
        edges: list[Write] = []
        for write in self.writes(what):
            if write.value != (edges[-1].value if edges else 0):
                edges.append(write)
        return [(on.at_ns, off.at_ns) for on, off in zip(edges[::2], edges[1::2], strict=False)]


class Broker(Server):
    """Mosquitto with a password (line: right) and, if asked for, TLS with a certificate of its own making."""

    def __init__(self, folder: Path, *, tls: bool) -> None:
        super().__init__(folder)
        self.ca = folder / "ca.pem" if tls else None
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
        self.program = shutil.which("mosquitto", path=path) or "mosquitto"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous false",
            f"password_file {folder / 'passwords'}",
            "persistence false",
            "max_queued_messages 100000",
            "user root",
        ]
        if tls:
            make_certificates(folder)
            lines += [f"certfile {folder / 'server.pem'}", f"keyfile {folder / 'server.key'}"]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        made = ["mosquitto_passwd", "-b", "-c", str(folder / "passwords"), "line", "right"]
        subprocess.run(made, check=True, capture_output=True, timeout=30)

    def command(self) -> list[str]:
        return [self.program, "-c", str(self.folder / "mosquitto.conf")]


class Listener:
    """A subscriber that notes when each message came."""

    def __init__(self, broker: Broker, topic: str) -> None:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        self.messages: list[tuple[int, str, bytes]] = []
        subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.username_pw_set("line", "right")
        if broker.ca is not None:
            self._client.tls_set(str(broker.ca))
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.messages.append(
            (time.monotonic_ns(), message.topic, message.payload)
        )
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert subscribed.wait(GENEROUS_S)

    def payloads(self, topic: str) -> list[bytes]:
        return [payload for _, heard, payload in list(self.messages) if heard == topic]

    def commands(self, topic: str) -> list[tuple[int, dict[str, Any]]]:
        return [(at_ns, json.loads(payload)) for at_ns, heard, payload in list(self.messages) if heard == topic]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def make_certificates(folder: Path) -> None:
    """Write ca.pem, and server.pem and server.key for 127.0.0.1, valid for an hour."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"test {name}")]) for name in keys}
    for name, key in keys.items():
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        )
        if name == "server":
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        certificate = builder.sign(keys["ca"], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        keys["server"].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


class Receiver:
    """A web server that keeps what was posted to it: (headers, body); it may dawdle, or refuse."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.dawdle_s = 0.0
        self.status = 204
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append((dict(self.headers), body))
                time.sleep(receiver.dawdle_s)
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/reject"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
