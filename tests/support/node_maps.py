"""A camera's node map without a camera: the real GenApi on registers in memory."""

from __future__ import annotations

from typing import Any

from genicam import genapi, gentl

_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<RegisterDescription ModelName="Test" VendorName="Test" StandardNameSpace="None" SchemaMajorVersion="1"
 SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1" MinorVersion="0" SubMinorVersion="0" ToolTip="Test"
 ProductGuid="1F3C6A72-7842-4edd-9130-E2E90A2058BB" VersionGuid="7645D2A1-A41E-4ac6-B486-1531FB7BECE6"
 xmlns="http://www.genicam.org/GenApi/Version_1_1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="http://www.genicam.org/GenApi/Version_1_1 GenApiSchema_Version_1_1.xsd">
<Category Name="Root" NameSpace="Standard">{features}</Category>
<Port Name="Device"/>
{nodes}
</RegisterDescription>"""


class Registers(genapi.AbstractPort):  # type: ignore[misc]
    """The camera's memory."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = bytearray(4096)
        self.written: list[int] = []
        #: Whether someone pulled the cable.
        self.gone = False
        #: Addresses that keep what they hold, whatever is written.
        self.stubborn: set[int] = set()

    def get_access_mode(self) -> int:
        return int(genapi.EAccessMode.RW)

    def read(self, address: int, length: int) -> bytes:
        if self.gone:
            raise gentl.IoException("the camera does not answer")
        return bytes(self.memory[address : address + length])

    def write(self, address: int, value: bytes) -> None:
        self.written.append(address)
        if address not in self.stubborn:
            self.memory[address : address + len(value)] = value


class NodeMap:
    """Build a node map from nodes; `registers` holds their values, `addresses` where each one lies."""

    def __init__(self) -> None:
        self._nodes: list[str] = []
        self.addresses: dict[str, int] = {}
        self.registers = Registers()

    def integer(self, name: str, low: int, high: int, step: int = 1, *, access: str = "RW") -> NodeMap:
        limits = f"<Min>{low}</Min><Max>{high}</Max><Inc>{step}</Inc>"
        self._add("Integer", name, f"<pValue>{name}Reg</pValue>{limits}", "IntReg", access)
        self.registers.memory[self.addresses[name] : self.addresses[name] + 4] = low.to_bytes(4, "little")
        return self

    def real(self, name: str, low: float, high: float) -> NodeMap:
        return self._add(
            "Float", name, f"<pValue>{name}Reg</pValue><Min>{low}</Min><Max>{high}</Max>", "FloatReg", "RW"
        )

    def choice(self, name: str, *symbols: str, access: str = "RW") -> NodeMap:
        entries = "".join(
            f'<EnumEntry Name="{symbol}"><Value>{index}</Value></EnumEntry>' for index, symbol in enumerate(symbols)
        )
        return self._add("Enumeration", name, f"{entries}<pValue>{name}Reg</pValue>", "IntReg", access)

    def command(self, name: str) -> NodeMap:
        return self._add("Command", name, f"<pValue>{name}Reg</pValue><CommandValue>1</CommandValue>", "IntReg", "WO")

    def load(self) -> Any:
        features = "".join(f"<pFeature>{name}</pFeature>" for name in self.addresses)
        node_map = genapi.NodeMap()
        node_map.load_xml_from_string(_HEAD.format(features=features, nodes="\n".join(self._nodes)))
        node_map.connect(self.registers, "Device")
        return node_map

    def _add(self, tag: str, name: str, body: str, register: str, access: str) -> NodeMap:
        address = self.addresses[name] = 8 * len(self.addresses)
        sign = "<Sign>Unsigned</Sign>" if register == "IntReg" else ""
        self._nodes.append(f'<{tag} Name="{name}">{body}</{tag}>')
        self._nodes.append(
            f'<{register} Name="{name}Reg"><Address>{address}</Address><Length>4</Length><AccessMode>{access}'
            f"</AccessMode><pPort>Device</pPort>{sign}<Endianess>LittleEndian</Endianess></{register}>"
        )
        return self
