"""The strangest good pictures of a calibration as overlays, so that a person can decide whether they are good."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from stream.core.errors import DiskError
from stream.core.images import read_image
from stream.core.verdict import verdict_of
from stream.model.visualization import draw
from stream.training.fit import FitSummary
from stream.training.progress import Track, silent

#: Letters of an image's name in that of its overlay; names of files are limited to 255 bytes.
_NAME_LETTERS = 50


def write_review(folder: Path, summary: FitSummary, track: Track = silent) -> None:
    """Write the strangest good pictures to a folder, RANK_score_SCORE_NAME.png, the strangest first.

    Raises:
        DatasetError: a picture can no longer be read.
        DiskError: the folder cannot be written.
    """
    info = summary.bundle.info
    assert info.thresholds is not None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for strange in summary.strange:
            overlay = draw(
                info.geometry.of_any_size.region(read_image(summary.paths[strange.row])),
                summary.calibration.distances[strange.row].astype(np.float32),
                verdict=verdict_of(strange.score, info.thresholds.image),
                score=strange.score,
                threshold=info.thresholds.image,
                pixel_threshold=info.thresholds.pixel,
                title=f"{strange.rank}. {strange.name}",
                cause=None,
                filled=info.filled,
            )
            name = strange.name.replace("/", "_")
            target = folder / f"{strange.rank:02d}_score_{strange.score:.4g}_{Path(name).stem[:_NAME_LETTERS]}.png"
            target.write_bytes(cv2.imencode(".png", overlay)[1].tobytes())
            track("draw review", strange.rank, len(summary.strange))
    except OSError as error:
        raise DiskError(f"{folder}: the review cannot be written: {error.strerror}") from None
