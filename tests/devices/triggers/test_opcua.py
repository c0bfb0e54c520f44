from __future__ import annotations

from collections.abc import Iterator

import pytest
from asyncua import ua
from asyncua.sync import Server
from support.listening import free_port, listening

from stream.devices.triggers.opcua import OpcUaTriggerOptions

SPACE = "urn:line"


class Plc:
    """asyncua's own server with a Boolean and a name."""

    def __init__(self) -> None:
        self.url = f"opc.tcp://127.0.0.1:{free_port()}/"
        self._server: Server | None = None

    def start(self) -> None:
        self._server = Server()
        self._server.set_endpoint(self.url)
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        space = self._server.register_namespace(SPACE)
        self.present = self._server.nodes.objects.add_variable(ua.NodeId("Present", space), "Present", False)
        self.name = self._server.nodes.objects.add_variable(ua.NodeId("Name", space), "Name", "")
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    def part(self, name: str) -> None:
        self.name.write_value(name)
        self.present.write_value(True)


@pytest.fixture
def plc() -> Iterator[Plc]:
    plc = Plc()
    plc.start()
    yield plc
    plc.stop()


def options(plc: Plc, **more: object) -> OpcUaTriggerOptions:
    basic = {"kind": "opcua", "url": plc.url, "node": "ns=2;s=Present", "id_node": "ns=2;s=Name", "reconnect_s": 0.1}
    return OpcUaTriggerOptions.model_validate(basic | {"timeout_ms": 2000} | more)


def test_a_node_that_turns_true_is_an_event_and_the_other_node_names_the_part(plc: Plc):
    with listening(options(plc).open()) as listener:
        listener.well()
        for count, name in enumerate(("A-1", "B-2"), start=1):
            plc.part(name)
            listener.events(count)
            plc.present.write_value(False)
    assert listener.part_ids == ["A-1", "B-2"]


def test_a_server_that_goes_is_a_fault_until_it_is_back(plc: Plc):
    with listening(options(plc).open()) as listener:
        listener.well()
        plc.stop()
        listener.until(lambda: listener.signal.fault, "fault", timeout_s=30)
        assert plc.url in str(listener.signal.fault)
        plc.start()
        listener.until(lambda: listener.signal.fault is None, "connection", timeout_s=30)


def test_a_node_that_is_no_boolean_is_a_fault(plc: Plc):
    with listening(options(plc, node="ns=2;s=Name").open()) as listener:
        listener.until(lambda: "is no Boolean but ''" in str(listener.signal.fault), "fault")


def test_a_node_of_bad_quality_tells_nothing_and_its_next_part_has_no_moment(plc: Plc):
    with listening(options(plc).open()) as listener:
        listener.well()
        bad = ua.DataValue(ua.Variant(), ua.StatusCode(ua.UInt32(ua.StatusCodes.BadSensorFailure)))
        plc.present.write_value(bad)
        plc.present.write_value(True)
        (trigger,) = listener.events(1)
    assert "could not be read" in trigger.fault


def test_a_node_that_the_server_does_not_have_is_a_fault(plc: Plc):
    with listening(options(plc, node="ns=2;s=Absent").open()) as listener:
        listener.until(lambda: "BadNodeIdUnknown" in str(listener.signal.fault), "fault")
