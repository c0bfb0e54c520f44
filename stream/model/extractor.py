"""The backbone on the device at hand: CUDA, else OpenVINO on the CPU, else torch on the CPU.

OpenVINO's model is converted once and kept in the cache folder under the hash of everything that
decides its results, so that a worker that is restarted needs neither torch nor the conversion.
"""

from __future__ import annotations

import ctypes
import importlib.util
import logging
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import faiss
import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.core.errors import ConfigError, DiskError
from stream.core.files import cache_folder, replace
from stream.model.cpu_lanes import Graph, Lanes, in_lane
from stream.model.patchcore.inspector import Extractor
from stream.model.patchcore.spec import FeatureSpec, StoredGraph
from stream.model.patchcore.tiles import Tiles

if TYPE_CHECKING:
    import torch

    from stream.model.patchcore.features import PatchFeatures

Device = Literal["auto", "cuda", "openvino", "torch-cpu"]

log = logging.getLogger(__name__)

#: Least free room of the cache's disk, MiB: a compiled model that fits only in part would be of no use.
_CACHE_MIB = 256
#: Part of the cache key: raise it when the graph built here changes.
_GRAPH_VERSION = 3


def choose_device(wanted: Device) -> Literal["cuda", "openvino", "torch-cpu"]:
    """Resolve `auto`; raises ConfigError if the requested device is absent."""
    if wanted == "cuda" and not _cuda_present():
        raise ConfigError("device: cuda was asked for, but no CUDA device is visible; use device: auto")
    if wanted == "openvino" and not _openvino_present():
        raise ConfigError("device: openvino was asked for, but it is not installed: pip install 'patchline[cpu]'")
    if wanted != "auto":
        return wanted
    if _cuda_present():
        return "cuda"
    return "openvino" if _openvino_present() else "torch-cpu"


def load_extractor(
    spec: FeatureSpec,
    *,
    device: Device = "auto",
    threads: int = 0,
    lanes: Lanes | None = None,
    weights: Path | None = None,
    graph: StoredGraph | None = None,
) -> Extractor:
    """Make the extractor of `spec` ready on a device.

    Args:
        spec: from a bundle, or from `spec_for` before a fit.
        device: where to run.
        threads: CPU threads; 0 leaves the choice to the library.
        lanes: of OpenVINO, to be shared with other extractors; None: its own.
        weights: state dict file instead of the published weights.
        graph: of an int8 bundle, which needs no weights.

    Raises:
        WeightsError: the weights are absent or differ from the spec's hash.
        ConfigError: the device is not there, or cannot compute the bundle's graph.
    """
    if graph is not None and device not in ("auto", "openvino"):
        raise ConfigError(f"device: {device} cannot compute an int8 bundle; use device: openvino, or fit in float32")
    if spec.tiles is not None:
        whole = load_extractor(
            spec.of_one_pass, device=device, threads=threads, lanes=lanes, weights=weights, graph=graph
        )
        return TiledExtractor(whole, spec.tiles)
    chosen = choose_device(device if graph is None else "openvino")
    if threads:
        faiss.omp_set_num_threads(threads)  # the search takes turns with the backbone
    if chosen == "openvino":
        return OpenVinoExtractor(spec, lanes or Lanes(threads), weights=weights, graph=graph)
    if chosen == "torch-cpu":
        return TorchExtractor(spec, threads=threads, weights=weights)
    import torch

    from stream.model.cuda import DeviceBackbone

    module = build_module(spec, weights, dtype=torch.float16)
    return DeviceBackbone(module, spec.input_px, device=torch.device("cuda"))


class TiledExtractor:
    """An extractor of the tiles of a part, all of them one batch, whose features it joins."""

    def __init__(self, extractor: Extractor, tiles: Tiles) -> None:
        """Cut the network inputs of `extractor`'s size out of the parts'."""
        self.extractor = extractor
        self.tiles = tiles

    @property
    def device(self) -> str:
        """Where it runs."""
        return self.extractor.device

    @property
    def useful_batch(self) -> int | None:
        """Parts of a useful batch: each is a batch by itself already."""
        return 1

    @property
    def lanes(self) -> Lanes | None:
        """Those of the tiles' extractor."""
        return self.extractor.lanes

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB → (N, h, w, D) float32."""
        parts = [self.tiles.join(self.extractor(self.tiles.cut(image[None]))) for image in images]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]


class TorchExtractor:
    """The torch module itself, on the CPU."""

    device = "torch-cpu"
    useful_batch = None
    lanes = None

    def __init__(self, spec: FeatureSpec, *, threads: int, weights: Path | None) -> None:
        """Load the weights."""
        import torch

        self._torch = torch
        if threads:
            torch.set_num_threads(threads)
        self._module = build_module(
            spec, weights, dtype=torch.bfloat16 if spec.precision == "bfloat16" else torch.float32
        )

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB → (N, h, w, D) float32."""
        torch = self._torch
        with torch.inference_mode():
            features = self._module(torch.from_numpy(images))
        return np.ascontiguousarray(features.numpy())


class OpenVinoExtractor:
    """The same graph compiled by OpenVINO for the CPU, in float32 or bfloat16; or a bundle's int8 graph."""

    device = "openvino"
    #: A batch takes as long on a CPU as its inputs one by one, so the first would wait for the last.
    useful_batch = 1

    def __init__(
        self, spec: FeatureSpec, lanes: Lanes, *, weights: Path | None, graph: StoredGraph | None = None
    ) -> None:
        """Read the converted model from the bundle's graph or the cache, or convert it and keep it there."""
        import openvino

        core = openvino.Core()
        folder = cache_folder() / "openvino"
        usable = _can_be_written(folder / "compiled")
        if graph is None:
            # The graph of both precisions, which differ in how it is compiled.
            of_weights = msgspec.structs.replace(spec, precision="float32")
            key = f"{of_weights.key[:32]}-v{_GRAPH_VERSION}-{openvino.__version__.split('-')[0]}"
            path = folder / f"{key}.xml"
            if path.exists():
                model = core.read_model(path)
            else:
                model = convert(spec, weights)
                if usable:
                    try:
                        _keep(model, path)
                    except (DiskError, OSError, RuntimeError) as error:  # OpenVINO raises the last for a full disk
                        log.warning("the model is not kept, the next start takes longer: %s", error)
        else:
            model = core.read_model(graph.model, graph.weights)
        self.lanes = lanes
        cached = {"CACHE_DIR": str(folder / "compiled")} if usable else {}
        self._graph = Graph(core, model, lanes, precision="bf16" if spec.precision == "bfloat16" else "f32", **cached)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB → (N, h, w, D) float32, several network inputs in lanes."""
        if len(images) == 1:
            return np.array(self._graph(images)[0])
        if in_lane():  # the tiles of a part, in the lane that inspects it
            return np.stack([np.array(self._graph(image[None])[0][0]) for image in images])
        return np.stack(list(self.lanes.map(lambda image: np.array(self._graph(image[None])[0][0]), images)))


def spec_for(
    backbone: str,
    *,
    input_px: tuple[int, int],
    neighbourhood: int,
    stride: int,
    levels: Sequence[str] = (),
    weights: Path | None = None,
    tiles: Tiles | None = None,
) -> FeatureSpec:
    """Describe the features of a fit that is about to begin; loads the weights to hash them.

    Raises:
        WeightsError, ConfigError: see `load_backbone`.
    """
    import torch

    from stream.model.patchcore.backbones import load_backbone
    from stream.model.patchcore.preprocess import PREPROCESSING

    network_px = input_px if tiles is None else tiles.tile_px
    loaded = load_backbone(backbone, levels=levels, input_px=network_px, weights=weights)
    with torch.inference_mode():
        maps = loaded.network.eval()(torch.zeros((1, 3, network_px[1], network_px[0])))
    return FeatureSpec(
        backbone=backbone,
        weights_sha256=loaded.weights_sha256,
        levels=loaded.levels,
        input_px=input_px,
        neighbourhood=neighbourhood,
        stride=stride,
        preprocessing=PREPROCESSING,
        channels=tuple(int(level.shape[1]) for level in maps),
        tiles=tiles,
    )


def input_multiple_px(backbone: str) -> int:
    """Return the px of which the edges of its network input should be multiples; raises WeightsError."""
    from stream.model.patchcore.backbones import TORCHVISION
    from stream.model.patchcore.preprocess import MULTIPLE_PX
    from stream.model.patchcore.timm_networks import LITE, patch_px

    patch = 1 if backbone in (*LITE, *TORCHVISION) else patch_px(backbone, others=", ".join((*LITE, *TORCHVISION)))
    return MULTIPLE_PX if MULTIPLE_PX % patch == 0 else patch


def build_module(spec: FeatureSpec, weights: Path | None = None, *, dtype: torch.dtype | None = None) -> PatchFeatures:
    """Build the torch module of `spec`, its network in `dtype` (float32 by default).

    Raises WeightsError when its weights are not those of the spec.
    """
    import torch

    from stream.model.patchcore.backbones import load_backbone
    from stream.model.patchcore.features import PatchFeatures

    backbone = load_backbone(
        spec.backbone,
        levels=spec.levels,
        input_px=spec.network_px,
        weights=weights,
        expected_sha256=spec.weights_sha256,
    )
    return PatchFeatures(
        backbone, neighbourhood=spec.neighbourhood, stride=spec.stride, dtype=dtype or torch.float32
    ).eval()


def convert(spec: FeatureSpec, weights: Path | None) -> Any:
    """Return the OpenVINO model of `spec` in float32, for one network input; raises WeightsError."""
    import openvino
    import torch

    width_px, height_px = spec.network_px
    shape = [1, height_px, width_px, 3]
    example = torch.zeros(shape, dtype=torch.uint8)
    module = build_module(spec, weights)
    with warnings.catch_warnings():
        # The graph is for inputs of this shape alone, so what is traced as a constant is one.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        # OpenVINO would trace it by itself, and then compare three more passes, for seconds.
        traced = torch.jit.trace(module, example, check_trace=False, strict=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced, example_input=example, input=[shape])


def _keep(model: Any, path: Path) -> None:
    """Write an OpenVINO model to `path` and the .bin beside it, each whole or not at all. Raises DiskError."""
    import openvino

    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch, path.name)
        openvino.save_model(model, saved, compress_to_fp16=False)
        # The graph goes last: a process that finds it also finds its weights.
        for suffix in (".bin", ".xml"):
            replace(saved.with_suffix(suffix), path.with_suffix(suffix))


@cache
def _can_be_written(folder: Path) -> bool:
    """Return whether a folder of the cache can be used; warns, once for each process, where it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"1")
        free_mib = shutil.disk_usage(folder).free // 2**20
        reason = f"only {free_mib} MiB are free" if free_mib < _CACHE_MIB else None
    except OSError as error:
        reason = error.strerror or str(error)
    if reason is not None:
        log.warning(
            "%s: models are not kept there and each start takes longer (%s); set PATCHLINE_CACHE to another folder",
            folder, reason,
        )  # fmt: skip
    return reason is None


def _openvino_present() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _cuda_present() -> bool:
    """Ask the driver itself: importing torch for that would cost a CPU worker seconds."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
