"""The nearest bank feature by a product in bfloat16, which processors that have it compute twice as fast.

One product gives the squared distances d² = ‖a‖² + ‖b‖² − 2ab of centred queries a and bank features b: the squares
are further columns of it, each as a sum of three numbers of bfloat16. With u = 2⁻⁸, the largest relative error of
rounding to bfloat16, a computed square lies within

    ε = 2 (‖a − round(a)‖ ‖b‖ + ‖round(a)‖ ‖b − round(b)‖) + u d² ≤ 2 (2u + u²) ‖a‖ ‖b‖ + u d²

of the true one, but for what float32 loses in the sum. The row of the least computed square is the answer, and its
distance is measured again in float32. It is therefore never less than that of the nearest feature, but its square may
be larger by the ε of both. Patches that decide a score are searched again in float32: `MemoryBank.settled`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.model.cpu_lanes import Graph, Lanes
from stream.model.patchcore.search import Nearest, Search, blocks_of

#: Largest relative error of rounding to bfloat16, which has 8 digits.
UNIT = 2.0**-8
#: Numbers of bfloat16 whose sum is one of float32.
_PIECES = 3


def bfloat16_product(features: NDArray[np.float32], lanes: Lanes) -> Search:
    """Return a search by one matrix product in bfloat16 and a running minimum, compiled by OpenVINO.

    Its distances are those to the rows that it found, in float32, and may be larger than those to the nearest.
    """
    import openvino
    from openvino import opset13 as op

    center = features.mean(axis=0)
    centred = features - center
    norms = np.einsum("md,md->m", centred, centred)
    count = len(features)

    def pieces(squares: Any) -> list[Any]:
        """Split float32 into numbers of bfloat16."""
        parts = []
        for _ in range(_PIECES):
            parts.append(op.convert(squares, "bf16"))
            squares = op.subtract(squares, op.convert(parts[-1], "f32"))
        return parts

    @functools.cache
    def compiled(patches: int) -> Graph:
        queries = op.parameter([patches, features.shape[1]], np.float32)
        from_center = op.subtract(queries, op.constant(center[None]))
        squares = op.reduce_sum(op.multiply(from_center, from_center), op.constant(np.array([1])), True)
        ones = [op.convert(op.constant(np.ones((rows, _PIECES), np.float32)), "bf16") for rows in (patches, count)]
        left = op.concat([op.convert(from_center, "bf16"), *pieces(squares), ones[0]], 1)
        right = op.concat(
            [op.convert(op.constant(-2 * centred), "bf16"), ones[1], *pieces(op.constant(norms[:, None]))], 1
        )
        nearest = []
        for block in op.variadic_split(left, op.constant(np.int64(0)), op.constant(blocks_of(patches))).outputs():
            product = op.convert(op.matmul(block, right, False, True), "f32")
            nearest.append(op.topk(product, op.constant(np.int64(1)), 1, "min", "none", "i64").output(1))
        row = op.squeeze(op.concat(nearest, 0), op.constant(np.array([1])))
        difference = op.subtract(
            queries, op.gather(op.constant(features, shared_memory=True), row, op.constant(np.int64(0)))
        )
        squared = op.reduce_sum(op.multiply(difference, difference), op.constant(np.array([1])))
        return Graph(openvino.Core(), openvino.Model([op.sqrt(squared), row], [queries], "half search"), lanes)

    def search(queries: NDArray[np.float32]) -> Nearest:
        outputs = compiled(len(queries))(queries)
        return Nearest(np.array(outputs[0]), np.array(outputs[1]))

    return search
