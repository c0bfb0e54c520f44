"""From a frame to a part's network input: the one path of fit, evaluation, line, replay and check. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.errors import FrameFault
from stream.core.halvings import Halvings
from stream.core.parts import Placement
from stream.core.verdict import Cause
from stream.model.patchcore.alignment import AT_FIT, Alignment
from stream.model.patchcore.masks import Masks
from stream.model.patchcore.preprocess import Roi, network_input


class Geometry(NamedTuple):
    """Where in a frame a part is, and how large the network sees it.

    Attributes:
        roi: region of the frame, (x, y, width, height) in px; None: the whole frame.
        picture_px: (width, height) that a whole frame must have; None: any.
        input_px: (width, height) of the network input.
        masks: what of it is not judged; None: all is.
        alignment: how the part is found in the frame; None: it is where it is.
    """

    roi: Roi | None
    picture_px: tuple[int, int] | None
    input_px: tuple[int, int]
    masks: Masks | None = None
    alignment: Alignment | None = None

    @property
    def of_any_size(self) -> Geometry:
        """The same for frames of any size that holds the region."""
        return self._replace(picture_px=None)

    def placement(self, image: NDArray[np.uint8]) -> Placement | None:
        """Return how the part lies in a frame, (H, W, 3) or (H, W) uint8; None: it is not looked for.

        Raises:
            FrameFault: WRONG_GEOMETRY, as for `region`; NOT_FOUND, see `Alignment.placement`.
        """
        if self.alignment is None:
            return None
        self.region(image, AT_FIT)
        return self.alignment.placement(image)

    def region(
        self, image: NDArray[np.uint8], placement: Placement | None = None, *, labels: bool = False
    ) -> NDArray[np.uint8]:
        """Return the part's region of a frame, (H, W, 3) or (H, W) uint8, or refuse the frame.

        It is a view, unless the part has moved. Without a `placement` an aligned part is found here. Of
        `labels` no values are mixed.

        Raises:
            FrameFault: WRONG_GEOMETRY, if the frame has another size or does not contain the region; NOT_FOUND, if the
                part is looked for in vain.
        """
        height_px, width_px = image.shape[:2]
        if self.alignment is not None:
            self.alignment.check_size(image)
        if self.roi is None:
            if self.picture_px is not None and (width_px, height_px) != self.picture_px:
                raise FrameFault(
                    Cause.WRONG_GEOMETRY,
                    f"the picture is {width_px}×{height_px} px, the bundle learned "
                    f"{self.picture_px[0]}×{self.picture_px[1]}",
                )
            box = 0, 0, width_px, height_px
        else:
            box = self.roi
        x, y, width, height = box
        if min(x, y) < 0 or x + width > width_px or y + height > height_px:
            raise FrameFault(
                Cause.WRONG_GEOMETRY,
                f"the picture is {width_px}×{height_px} px, too small for region {x},{y},{width},{height}",
            )
        if self.alignment is not None:
            found = self.alignment.placement(image) if placement is None else placement
            return self.alignment.region(image, box, found, nearest=labels)
        return image if self.roi is None else image[y : y + height, x : x + width]

    def network_input(self, region: NDArray[np.uint8] | Halvings) -> NDArray[np.uint8]:
        """Return the network input of a region as `preprocess.network_input` does, masks filled."""
        pixels = network_input(region, self.input_px)
        return pixels if self.masks is None else self.masks.fill(pixels)
