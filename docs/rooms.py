"""Draw the rooms of `stream/` and the imports between them: `python docs/rooms.py` writes architecture/rooms.svg.

`--check` compares only and exits with 1 where the picture is out of date. An arrow that follows from others (cli →
line → core makes cli → core) is left out; what each room may import in full is in tests/test_layers.py.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture" / "rooms.svg"
BOX_W, BOX_H, GAP_X, GAP_Y, MARGIN = 132, 40, 30, 46, 16  # px
#: Where a room stands in its row, in boxes from the left.
COLUMN = {
    **{"cli": 1.5, "capture": 0, "inference": 1, "sink": 2, "dashboard": 3, "training": 3.4},
    **{"line": 0.3, "store": 1.8, "transport": 3, "devices": 0.5, "model": 1.6, "core": 2.2},
}


def imports() -> dict[str, set[str]]:
    """Return the rooms that each room imports, from the source."""
    package = ROOT / "stream"
    rooms = sorted(path.name for path in package.iterdir() if (path / "__init__.py").is_file())
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for room in rooms:
        for file in (package / room).rglob("*.py"):
            for statement in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(statement, ast.ImportFrom):
                    names = [f"{statement.module}.{alias.name}" for alias in statement.names]
                elif isinstance(statement, ast.Import):
                    names = [alias.name for alias in statement.names]
                else:
                    continue
                found[room] |= {name.split(".")[1] for name in names if name.startswith("stream.")} & set(rooms)
        found[room].discard(room)
    return found


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """Return each room's floor, the ground being 0: as high as it can be below all that import it."""
    above: dict[str, int] = {}  # floors counted from the top
    while len(above) < len(arrows):
        users = {room: {other for other, below in arrows.items() if room in below} for room in arrows}
        free = {room for room in arrows if room not in above and users[room] <= above.keys()}
        if not free:
            raise SystemExit(f"a circle of imports among {', '.join(sorted(arrows.keys() - above.keys()))}")
        above |= {room: 1 + max((above[other] for other in users[room]), default=-1) for room in free}
    return {room: max(above.values()) - depth for room, depth in above.items()}


def reduced(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leave out every arrow that a longer way replaces."""

    def reach(room: str) -> set[str]:
        return arrows[room].union(*(reach(other) for other in arrows[room]), set())

    return {
        room: {other for other in below if not any(other in reach(way) for way in below - {other})}
        for room, below in arrows.items()
    }


def svg(arrows: dict[str, set[str]]) -> str:
    """Return the picture: a row of boxes for each floor, the ground at the bottom."""
    floor = floors(arrows)
    top = max(floor.values())
    width = 2 * MARGIN + BOX_W + max(COLUMN.values()) * (BOX_W + GAP_X)
    height = 2 * MARGIN + BOX_H + top * (BOX_H + GAP_Y)
    corner = {
        room: (MARGIN + COLUMN[room] * (BOX_W + GAP_X), MARGIN + (top - floor[room]) * (BOX_H + GAP_Y))
        for room in arrows
    }
    lines = []
    for room, below in sorted(reduced(arrows).items()):
        for other in sorted(below):
            (x1, y1), (x2, y2) = corner[room], corner[other]
            ends = (x1 + BOX_W / 2, y1 + BOX_H, x2 + BOX_W / 2, y2 - 4)
            lines.append('<line x1="{:g}" y1="{:g}" x2="{:g}" y2="{:g}" marker-end="url(#tip)"/>'.format(*ends))
    boxes = [
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_W}" height="{BOX_H}" rx="6"/>'
        f'<text x="{x + BOX_W / 2:g}" y="{y + BOX_H / 2 + 5:g}">{room}</text>'
        for room, (x, y) in sorted(corner.items())
    ]
    style = (
        "svg{background:#fff}line{stroke:#8793a1;stroke-width:1.3}rect{fill:#eef3f8;stroke:#3d5a80;stroke-width:1.5}"
        "text{font:15px sans-serif;text-anchor:middle;fill:#14202b}"
    )
    tip = (
        '<marker id="tip" markerWidth="8" markerHeight="8" refX="6" refY="4" orient="auto">'
        '<path d="M0,0 8,4 0,8z" fill="#8793a1"/></marker>'
    )
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    body = "\n".join([f"<style>{style}</style>", f"<defs>{tip}</defs>", *lines, *boxes])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'


def main() -> int:
    """Write the picture, or with `--check` compare it."""
    picture = svg(imports())
    if "--check" in sys.argv[1:]:
        if PICTURE.read_text(encoding="utf-8") == picture:
            return 0
        print(f"{PICTURE.relative_to(ROOT)} is out of date: run python docs/rooms.py")
        return 1
    PICTURE.write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
