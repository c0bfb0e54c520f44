"""A defect under a mask is as if it were not there: in the fit, on the line, in its evaluation and in a replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
from support.pictures import good_picture, write_picture
from support.running import GATE, Line, belt, complaint, patchline, station

from stream.model.bundle import load_bundle
from stream.store.event_reader import FILE_NAME, EventReader
from stream.store.records import Event

MakeLine = Callable[..., Line]
PARTS = 12
MASKS = "masks: [{name: print, kind: ignore, circle: [80, 60, 30]}]"


def kept_map(store: EventReader, event: Event) -> bytes:
    images = None if event.event_id is None else store.images(event.event_id)
    assert images is not None
    assert images.patch_distances is not None
    return images.patch_distances.tobytes()


def test_a_defect_under_a_mask_changes_no_bit_from_the_fit_to_the_replay(
    make_line: MakeLine, good_folder: Path, tmp_path: Path
):
    masks, bundle, dataset = tmp_path / "masks.yaml", tmp_path / "cap.safetensors", tmp_path / "dataset"
    masks.write_text(MASKS)
    fitted = patchline(
        *("fit", good_folder, "-o", bundle, "--masks", masks),
        *("--size", "96", "--coreset", "0.05", "--false-reject-rate", "0.04"),
    )
    assert fitted.returncode == 0, fitted.stderr
    assert "masks 'print': " in fitted.stdout
    assert "print: ignore, circle around 80,60 of 30 px" in patchline("show", bundle).stdout

    parts = tmp_path / "parts"
    for folder in (parts, dataset / "test/good", dataset / "test/blot"):
        folder.mkdir(parents=True)
    for number in range(PARTS):
        # Every second part is the one before it, with a defect under the mask.
        picture, kind = good_picture(900 + number // 2), "blot" if number % 2 else "good"
        if number % 2:
            cv2.circle(picture, (80, 60), 26, (15, 20, 25), thickness=-1)
        write_picture(parts / f"part{number:02d}.png", picture)
        write_picture(dataset / f"test/{kind}/part{number:02d}.png", picture)

    line = make_line(
        {
            "cameras": {"top": belt(parts, parts=PARTS, record={"path": "frames", "keep": "all"})},
            "stations": {"cap": station(bundle, masks=str(masks), backlog=64)},
            "actuators": GATE,
            "store": {"path": "store", "record": "all", "good_one_in": 1},
        }
    )
    line.start()
    assert line.finish(120) == 0, line.output()
    events = {str(event.part.part_id): event for event in line.events()}
    assert sorted(events) == [f"part{number:02d}.png" for number in range(PARTS)], line.output()
    with EventReader.open(line.folder / "store" / FILE_NAME) as store:
        for number in range(0, PARTS, 2):
            good, defective = (events[f"part{each:02d}.png"] for each in (number, number + 1))
            assert good.part.score is not None
            assert (defective.part.score, defective.part.verdict) == (good.part.score, good.part.verdict)
            maps = [kept_map(store, event) for event in (good, defective)]
            assert maps[0] == maps[1]

    replayed = patchline("replay", line.folder / "frames", line.path, "--report", tmp_path / "replay.json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    (summary,) = json.loads((tmp_path / "replay.json").read_text())["summary"]
    assert summary["compared"] == {"same": PARTS}

    evaluated = patchline("evaluate", bundle, dataset, "--report", tmp_path / "report.json")
    assert evaluated.returncode == 0, evaluated.stderr
    outcomes = json.loads((tmp_path / "report.json").read_text())["outcomes"]
    scores = {Path(image["path"]).name: image["score"] for images in outcomes.values() for image in images}
    assert scores == {name: event.part.score for name, event in events.items()}

    # Another area in the configuration than in the bundle: the line does not start, and says so in one line.
    masks.write_text(MASKS.replace("30]", "25]"))
    refused = complaint(patchline("run", line.path))
    assert "learned with the masks 'print' of another shape, not with those of stations.cap.masks" in refused
    checked = patchline("check", line.path)
    assert checked.returncode != 0
    assert "of another shape" in " ".join(checked.stdout.split())

    # Taught anew, the bundle has them; without the option it is learned like the live one.
    taught = patchline("teach", line.path, "top", "--parts", PARTS, "-o", tmp_path / "taught.safetensors")
    assert taught.returncode == 0, taught.stdout + taught.stderr
    info = load_bundle(tmp_path / "taught.safetensors").info
    assert info.masks is not None
    assert info.masks.areas[0].circle == (80, 60, 25)
