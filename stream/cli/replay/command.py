"""`patchline replay`: inspect a recording with the line's bundles and compare the results with those of the line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.table import Table

    from stream.cli.replay.compare import Comparison, Replayed, Summary
    from stream.line.config import LineConfig
    from stream.store.records import Event


def replay(
    recording: Annotated[
        Path, typer.Argument(help="Folder of the recording: cameras.NAME.record.path.", show_default=False)
    ],
    config: Annotated[Path, typer.Argument(help="The line's YAML file.", show_default=False)],
    camera: Annotated[
        str | None, typer.Option(help="Camera whose stations inspect it; default: the one that records there.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write every part: .csv or .json.")] = None,
) -> None:
    """Inspect a recording again with the bundles of a line's stations.

    If the line's event store has a part, score, verdict and the rule that decided are compared bit for bit; exit code 1
    if one differs. Prints the parts that are not GOOD, are so only by a rule, or differ, and a summary.

    Example: `patchline replay run/top line.yaml --report replay.csv`
    """
    from stream.capture.cropper import load_cropper
    from stream.capture.recording import Recording
    from stream.cli.app import err
    from stream.cli.replay import compare as replaying
    from stream.cli.terminal import tracking
    from stream.inference.station_models import load_station_models
    from stream.line.config import load

    if report is not None:
        replaying.check_report(report)
    line = load(config)
    frames = Recording(recording)
    stations = line.stations_of(_camera(line, recording, camera))
    croppers = [load_cropper(name, station) for name, station in stations.items()]
    models = load_station_models(line, 0)
    event_of, close = _event_lookup(line)
    with tracking(err) as track:
        parts = list(replaying.replay(frames, croppers, models, event_of, track))
    close()
    if report is not None:
        replaying.write_report(report, parts)
    _print(parts, frames.damaged)
    if any(part.compared == "differs" for part in parts):
        raise typer.Exit(1)


def _camera(line: LineConfig, recording: Path, named: str | None) -> str:
    from stream.core.errors import ConfigError

    if named is not None and named in line.cameras:
        return named
    if named is None:
        folder = os.path.realpath(recording)
        candidates = [
            name
            for name, options in line.cameras.items()
            if options.record is not None and os.path.realpath(options.record.path) == folder
        ] or list(line.cameras)
        if len(candidates) == 1:
            return candidates[0]
    given = "nothing" if named is None else f"'{named}'"
    raise ConfigError(f"--camera: expected one of {', '.join(line.cameras)}, got {given}")


def _event_lookup(line: LineConfig) -> tuple[Callable[[str, int], Event | None], Callable[[], None]]:
    """Return a look-up of (station, number) in the line's store, and its close; a line that never ran has no events."""
    from stream.store.event_reader import FILE_NAME, EventReader

    path = line.store.path / FILE_NAME
    if not path.exists():
        return (lambda _station, _seq: None), lambda: None
    store = EventReader.open(path)
    return store.event_of, store.close


def _print(parts: Sequence[Replayed], damaged: Sequence[str]) -> None:
    from stream.cli.app import out
    from stream.cli.replay.compare import summarise
    from stream.core.verdict import Verdict

    for part in parts:
        if part.verdict is Verdict.GOOD and not part.within_spec and part.compared != "differs":
            continue
        words = [f"{part.station} {part.seq}", part.part_id or "", str(part.verdict), str(part.cause or "")]
        if part.score is not None:
            words.append(f"score {part.score:.6f} threshold {part.threshold:.6f}")
        words.append(part.detail)
        if part.compared == "differs":
            by_rule = "" if part.line_rule == part.rule else f" by rule {part.line_rule!r}, now {part.rule!r}"
            words.append(
                f"DIFFERS from the line: {part.line_verdict}{by_rule} score {part.line_score!r}, now {part.score!r}"
            )
        out.print(" ".join(word for word in words if word), highlight=False, soft_wrap=True)
    out.print(summary_table(summarise(parts)))
    for reason in damaged:
        out.print(f"skipped: {reason}", highlight=False, soft_wrap=True)


def summary_table(summaries: Sequence[Summary]) -> Table:
    """Return the counts, one below the other so that no name is cut on a narrow terminal, in a column per station."""
    from rich.table import Table

    from stream.core.verdict import Verdict

    table = Table("replay", *(summary.station for summary in summaries), title_justify="left")
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    table.columns[0].no_wrap = True
    verdicts = {str(verdict): [summary.verdicts.get(verdict, 0) for summary in summaries] for verdict in Verdict}
    compared: dict[str, Comparison] = {
        "agree": "same",
        "differ": "differs",
        "other bundle": "other_bundle",
        "not judged": "not_judged",
        "unknown": "unknown",
    }
    rows = {"GOOD": verdicts.pop("GOOD"), "of them within spec": [summary.within_spec for summary in summaries]}
    rows |= verdicts
    rows |= {name: [summary.compared.get(how, 0) for summary in summaries] for name, how in compared.items()}
    for name, counts in rows.items():
        table.add_row(name, *map(str, counts))
    return table
