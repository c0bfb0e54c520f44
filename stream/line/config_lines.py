"""Where the options of a configuration are in its file."""

from __future__ import annotations

from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

#: A field: names of sections and options, and numbers of entries of lists.
Path = tuple[str | int, ...]


class Lines:
    """The lines of a document's fields; every section is looked through once, however many fields are asked for."""

    def __init__(self, document: Node | None) -> None:
        """Look at a document as YAML composes it."""
        self._document = document
        self._sections: dict[int, dict[str, tuple[int, Node]]] = {}

    def of(self, path: Path) -> int:
        """Return the line, from 1, of a field or of the section that lacks it."""
        line, node = 1, self._document
        for step in path:
            below = self._entry(node, step)
            if below is None:
                break
            line, node = below
        return line

    def _entry(self, node: Node | None, step: str | int) -> tuple[int, Node] | None:
        """Return the line of an entry and its value; None if it is not there."""
        if isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            entry = node.value[step]
            return entry.start_mark.line + 1, entry
        return self._entries(node).get(str(step)) if isinstance(node, MappingNode) else None

    def _entries(self, section: MappingNode) -> dict[str, tuple[int, Node]]:
        """Return line and value of each key of a section, those of sections merged into it (`<<`) last."""
        known = self._sections.get(id(section))
        if known is not None:
            return known
        entries = self._sections[id(section)] = {}
        merged: list[Node] = []
        for key, value in section.value:
            if isinstance(key, ScalarNode):
                entries.setdefault(key.value, (key.start_mark.line + 1, value))
                if key.value == "<<":
                    merged += value.value if isinstance(value, SequenceNode) else [value]
        for other in merged:
            for name, entry in self._entries(other).items() if isinstance(other, MappingNode) else ():
                entries.setdefault(name, entry)
        return entries
