"""Tiles, masks and alignment together: one part has one score, wherever it lies and whoever inspects it."""

from __future__ import annotations

import itertools
import json
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families
from support.pictures import part_picture, write_picture
from support.running import GATE, Line, patchline, station

from stream.core.verdict import Verdict
from stream.model.bundle import calibration_distances, load_bundle
from stream.store.event_reader import FILE_NAME, EventReader

MakeLine = Callable[..., Line]
#: Two ends of the plate, beside which the defect lies that `part_picture` draws.
FIXTURES = ("52,42,40,34", "130,120,56,34")
#: In px of the region 50,40,140,120: that defect's place, and the hole, of another threshold.
MASKS = """
masks:
  - {name: blot, kind: ignore, circle: [80, 60, 17]}
  - {name: hole, kind: zone, factor: 1.5, circle: [40, 80, 16]}
"""
MOVES = ((0.0, 0.0, 0.0), (12.0, -9.0, 3.0), (-16.5, 7.25, -4.0))
#: Frames that follow while the shadow's metrics are read.
AFTER = 4


def shadow_of(line: Line) -> dict[str, float]:
    """The sums of the shadow's metrics in one answer of the worker."""
    address = line.config.metrics_address("worker0")
    assert address is not None
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    names = ("patchline_shadow_score_ratio_sum", "patchline_shadow_score_ratio_count", "patchline_shadow_skipped_total")
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return {sample.name: float(sample.value) for sample in samples if sample.name in names}


def test_one_part_has_one_score_and_map_wherever_it_lies_and_whoever_inspects_it(make_line: MakeLine, tmp_path: Path):
    good, bundle, masks = tmp_path / "good", tmp_path / "cap.safetensors", tmp_path / "masks.yaml"
    good.mkdir()
    masks.write_text(MASKS)
    for seed in range(16):
        move = {"x_px": seed - 8.0, "angle_deg": seed % 5 - 2.0} if seed else {}
        write_picture(good / f"{seed:02d}.png", part_picture(seed, **move))
    fitted = patchline(
        *("fit", good, "-o", bundle, "--roi", "50,40,140,120", "--masks", masks),
        *itertools.chain.from_iterable(("--fixture", box) for box in FIXTURES),
        *("--tiles", "2x2", "--size", "64", "--coreset", "0.1", "--calibration", "split", "--false-reject-rate", "0.2"),
    )
    assert fitted.returncode == 0, fitted.stderr
    info = load_bundle(bundle).info
    assert info.spec.tiles is not None
    assert (info.spec.tiles.count, info.alignment is None, info.masks is None) == (4, False, False)

    # Each moved part as it is, then with a defect under the mask; then parts that calibrated the bundle.
    parts, dataset = tmp_path / "parts", tmp_path / "dataset"
    for folder in (parts, dataset / "test/good"):
        folder.mkdir(parents=True)
    for number, (move, defect) in enumerate(itertools.product(MOVES, (False, True))):
        x_px, y_px, angle_deg = move
        picture = part_picture(5, x_px=x_px, y_px=y_px, angle_deg=angle_deg, defect=defect)
        write_picture(parts / f"a{number}.png", picture)
    calibrated = info.calibration_names[:2]
    for name in calibrated:
        shutil.copy(good / name, parts / f"b{name}")
    names = sorted(path.name for path in parts.iterdir())
    for name in names:
        shutil.copy(parts / name, dataset / "test/good" / name)
    for number in range(AFTER):
        write_picture(parts / f"c{number}.png", part_picture(30 + number))

    shadow = Path(shutil.copy(bundle, tmp_path / "shadow.safetensors"))
    camera = {"kind": "folder", "path": str(parts), "rate_hz": 2, "record": {"path": "frames", "keep": "all"}}
    line = make_line(
        {
            "cameras": {"top": camera},
            "stations": {"cap": station(bundle, roi=None, masks=str(masks), shadow=str(shadow))},
            "actuators": GATE,
            "store": {"path": "store", "record": "all", "good_one_in": 1},
        }
    )
    line.start()
    seen = line.wait_for(
        lambda: (now := shadow_of(line)).get("patchline_shadow_score_ratio_count", 0) >= len(names) and now,
        "scores of the shadow",
    )
    assert line.finish(120) == 0, line.output()

    events = {str(event.part.part_id): event for event in line.events()}
    scores: dict[str, float] = {}
    maps: dict[str, NDArray[np.float16]] = {}
    previews: dict[str, bytes] = {}
    with EventReader.open(line.folder / "store" / FILE_NAME) as store:
        for name, event in events.items():
            assert event.part.score is not None, event.part.detail
            assert event.event_id is not None
            images = store.images(event.event_id)
            assert images is not None
            assert images.patch_distances is not None
            scores[name], maps[name] = event.part.score, images.patch_distances
            previews[name] = images.preview_jpeg
    for number, (x_px, y_px, _) in enumerate(MOVES):
        plain, marred = f"a{2 * number}.png", f"a{2 * number + 1}.png"
        placement = events[plain].placement
        assert placement is not None
        assert abs(placement.dx_px - x_px) + abs(placement.dy_px - y_px) < 0.6
        assert (events[marred].placement, scores[marred]) == (placement, scores[plain])
        assert maps[marred].tobytes() == maps[plain].tobytes()
        assert events[marred].part.verdict is events[plain].part.verdict is Verdict.GOOD

    # What is not judged is hatched in what the sink saves, on the same area of the part however it lay.
    for number in range(0, 2 * len(MOVES), 2):
        event = events[f"a{number}.png"]
        (saved,) = (line.folder / "store/overlays/cap").glob(f"{event.part.seq:09d}_*.jpg")
        drawn, preview = (cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE).astype(int)
                          for data in (saved.read_bytes(), previews[f"a{number}.png"]))  # fmt: skip
        lines = np.abs(drawn[-preview.shape[0] :] - preview) > 40
        assert lines[48:72, 68:92].mean() > 0.1
        assert lines[100:, 100:].mean() < 0.01

    # The fit, for parts that only calibrate; the evaluation; the replay; the shadow, in the order of the parts.
    kept = dict(zip(info.calibration_names, load_bundle(bundle).calibration_scores, strict=True))
    distances = dict(zip(info.calibration_names, calibration_distances(bundle), strict=True))
    for name in calibrated:
        assert scores[f"b{name}"] == kept[name]
        assert maps[f"b{name}"].tobytes() == distances[name].tobytes()
    evaluated = patchline("evaluate", bundle, dataset, "--report", tmp_path / "report.json")
    assert evaluated.returncode == 0, evaluated.stderr
    outcomes = json.loads((tmp_path / "report.json").read_text())["outcomes"]
    assert {Path(image["path"]).name: image["score"] for images in outcomes.values() for image in images} == {
        name: scores[name] for name in names
    }
    replayed = patchline("replay", line.folder / "frames", line.path, "--report", tmp_path / "replay.json")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    (summary,) = json.loads((tmp_path / "replay.json").read_text())["summary"]
    assert summary["compared"] == {"same": len(names) + AFTER}
    assert seen.get("patchline_shadow_skipped_total", 0) == 0
    assert info.thresholds is not None
    shadowed = sorted(scores)[: int(seen["patchline_shadow_score_ratio_count"])]
    ratios = itertools.accumulate((max(0.0, scores[name] / info.thresholds.image) for name in shadowed), initial=0.0)
    assert seen["patchline_shadow_score_ratio_sum"] == list(ratios)[-1]
