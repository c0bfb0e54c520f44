"""Networks of tokens, and all other timm models, with random weights: their published ones are downloads."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stream.core.errors import ConfigError, WeightsError
from stream.model.extractor import input_multiple_px, load_extractor, spec_for
from stream.model.patchcore import torchvision_ops
from stream.model.patchcore.backbones import load_backbone
from stream.model.patchcore.preprocess import input_size
from stream.training.quantize import quantized

assert torchvision_ops  # before timm
import timm  # noqa: E402

#: 6 blocks, patches of 16 px, a class token, trained at 160 px.
TOKENS = "test_vit"
#: The same with a register token instead, and a scale for each layer's output.
REGISTERS = "test_vit2"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test, so that no weights of another are found."""
    monkeypatch.setenv("PATCHLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def whole_network(name: str, **options: Any) -> Any:
    """Timm's own network, with the same random weights at every call."""
    torch.manual_seed(0)
    return timm.create_model(name, **options).eval()


def weights_of(name: str, folder: Path) -> Path:
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in whole_network(name).state_dict().items()}, path)
    return path


def image(width: int, height: int) -> torch.Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def levels_at(name: str, folder: Path, width: int, height: int, *levels: str) -> list[torch.Tensor]:
    backbone = load_backbone(name, levels=levels, input_px=(width, height), weights=weights_of(name, folder))
    with torch.inference_mode():
        maps: list[torch.Tensor] = backbone.network(image(width, height))
    return maps


def timms_own(name: str, width: int, height: int, blocks: list[int]) -> list[torch.Tensor]:
    """The tokens of blocks, counted from 0, of a network that timm made for this size from the same weights."""
    trained, made = whole_network(name), timm.create_model(name, img_size=(height, width)).eval()
    resample = sys.modules[type(made).__module__].checkpoint_filter_fn
    made.load_state_dict(resample(trained.state_dict(), made))
    with torch.inference_mode():
        maps: list[torch.Tensor] = made.forward_intermediates(
            image(width, height), indices=blocks, norm=True, intermediates_only=True
        )
    return maps


@pytest.mark.parametrize("name", [TOKENS, REGISTERS, "test_vit_relpos"])
@pytest.mark.parametrize(("width", "height"), [(160, 160), (224, 96), (96, 256)])
def test_tokens_are_laid_out_on_the_grid_of_any_size_as_timm_does_it(tmp_path: Path, name: str, width, height):
    found = levels_at(name, tmp_path, width, height, "block2", "block4")
    assert [tuple(level.shape[2:]) for level in found] == [(height // 16, width // 16)] * 2
    for level, expected in zip(found, timms_own(name, width, height, [1, 3]), strict=True):
        torch.testing.assert_close(level, expected)


def test_rotary_positions_follow_the_size(tmp_path: Path):
    found = levels_at("vit_small_patch16_dinov3", tmp_path, 96, 64, "block1", "block2")
    for level, expected in zip(found, timms_own("vit_small_patch16_dinov3", 96, 64, [0, 1]), strict=True):
        assert level.shape == (1, 384, 4, 6)
        torch.testing.assert_close(level, expected)


@pytest.mark.parametrize(("name", "prefix", "last"), [(TOKENS, 1, "block6"), (REGISTERS, 1, "block8")])
def test_the_last_block_is_the_networks_own_features_without_class_and_registers(tmp_path, name, prefix, last):
    (found,) = levels_at(name, tmp_path, 160, 160, last)
    with torch.inference_mode():
        tokens = whole_network(name).forward_features(image(160, 160))
    expected = tokens[:, prefix:].reshape(1, 10, 10, 64).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected)


def test_blocks_behind_the_last_one_used_are_cut_off_and_the_classifier_too(tmp_path: Path):
    network: Any = load_backbone(TOKENS, weights=weights_of(TOKENS, tmp_path), levels=("block2", "block4")).network
    assert len(network.model.blocks) == 4
    assert not any("head" in name for name in network.state_dict())


def test_the_default_blocks_are_those_in_the_middle(tmp_path: Path):
    assert load_backbone(TOKENS, weights=weights_of(TOKENS, tmp_path)).levels == ("block3", "block5")


def test_the_hash_of_the_weights_is_the_same_at_every_size_and_another_at_other_levels(tmp_path: Path):
    file = weights_of(TOKENS, tmp_path)
    hashes = [load_backbone(TOKENS, weights=file, input_px=size).weights_sha256 for size in ((160, 160), (224, 96))]
    assert hashes[0] == hashes[1]
    assert load_backbone(TOKENS, weights=file, levels=("block2",)).weights_sha256 != hashes[0]


def test_weights_given_once_are_found_again_by_their_hash_at_any_size(tmp_path: Path):
    file = weights_of(TOKENS, tmp_path)
    fitted = load_backbone(TOKENS, weights=file, input_px=(224, 224))
    file.unlink()
    found = load_backbone(TOKENS, expected_sha256=fitted.weights_sha256, levels=fitted.levels, input_px=(96, 160))
    assert found.weights_sha256 == fitted.weights_sha256


def test_weights_of_another_size_are_resampled(tmp_path: Path):
    file = tmp_path / "larger.safetensors"
    larger = whole_network(TOKENS, img_size=(224, 224))
    save_file({key: value.contiguous() for key, value in larger.state_dict().items()}, file)
    backbone = load_backbone(TOKENS, weights=file)
    assert tuple(backbone.network.state_dict()["model.pos_embed"].shape) == (1, 1 + 100, 64)


def test_a_file_in_its_authors_names_is_converted(tmp_path: Path):
    # DINOv3's own files call the registers storage tokens, and the scales of a block ls1 and ls2.
    names = (("reg_token", "storage_tokens"), ("gamma_1", "ls1.gamma"), ("gamma_2", "ls2.gamma"))
    renamed = {}
    for key, value in whole_network("vit_small_patch16_dinov3").state_dict().items():
        theirs = functools.reduce(lambda name, pair: name.replace(*pair), names, key)
        renamed[theirs] = value.contiguous()
    file = tmp_path / "dinov3.safetensors"
    save_file(renamed, file)
    network = load_backbone("vit_small_patch16_dinov3", weights=file, levels=("block1",)).network
    own, given = network.state_dict(), whole_network("vit_small_patch16_dinov3").state_dict()
    torch.testing.assert_close(own["model.reg_token"], given["reg_token"])
    torch.testing.assert_close(own["model.blocks.0.gamma_1"], given["blocks.0.gamma_1"])


@pytest.mark.parametrize(
    ("size", "sizes"),
    [((230, 230), "224 or 240"), ((230, 160), "224 or 240 wide and 160 high"), ((10, 10), "that fit are 16")],
)
def test_a_size_that_is_no_multiple_of_the_patches_is_answered_with_the_next_that_fit(tmp_path, size, sizes: str):
    with pytest.raises(ConfigError, match=f"no multiple of its patches of 16 px; the next sizes .*{sizes}"):
        load_backbone(TOKENS, weights=weights_of(TOKENS, tmp_path), input_px=size)


@pytest.mark.parametrize("region_px", [(400, 200), (300, 310), (640, 480), (300, 300)])
def test_an_input_in_the_aspect_of_the_region_is_a_multiple_of_the_patches(region_px: tuple[int, int]):
    multiple_px = input_multiple_px("vit_small_patch14_dinov2")
    for size_px in (224, 320, 448):
        width, height = input_size(size_px, region_px, multiple_px)
        assert width % 14 == height % 14 == 0
        assert width * height == pytest.approx(size_px**2, rel=0.15)
    assert input_multiple_px(TOKENS) == input_multiple_px("resnet18") == input_multiple_px("test_convnext") == 32


def test_a_network_of_one_size_names_it(tmp_path: Path):
    file = weights_of("pit_ti_224", tmp_path)
    assert load_backbone("pit_ti_224", weights=file, input_px=(224, 224)).levels == ("stride8", "stride16")
    with pytest.raises(ConfigError, match=r"cannot take a network input of 256×224 px .* it was trained at 224×224 px"):
        load_backbone("pit_ti_224", weights=file, input_px=(256, 224))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (70, 45)])
def test_a_convolutional_network_takes_any_size(tmp_path: Path, width: int, height: int):
    found = levels_at("test_convnext", tmp_path, width, height)
    assert [tuple(level.shape[2:]) for level in found] == [(height // stride, width // stride) for stride in (8, 16)]


def test_windowed_attention_gives_its_channels_first_as_all_others_do(tmp_path: Path):
    found = levels_at("swin_tiny_patch4_window7_224", tmp_path, 224, 224, "stride4", "stride8")
    assert [tuple(level.shape) for level in found] == [(1, 96, 56, 56), (1, 192, 28, 28)]


def test_weights_of_another_network_of_tokens_are_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"test_vit2\.safetensors holds other weights"):
        load_backbone("test_vit3", weights=weights_of(REGISTERS, tmp_path))


@pytest.mark.parametrize("name", [TOKENS, REGISTERS])
def test_openvino_and_torch_extract_the_same_tokens(tmp_path: Path, name: str):
    file = weights_of(name, tmp_path)
    spec = spec_for(name, input_px=(96, 96), neighbourhood=3, stride=1, weights=file)
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    in_torch, in_openvino = (load_extractor(spec, device=device)(images) for device in ("torch-cpu", "openvino"))
    assert in_torch.shape == (2, 6, 6, 128)
    assert np.abs(in_openvino - in_torch).max() < 1e-4 * np.abs(in_torch).max()


def test_tokens_in_int8_point_where_those_in_float32_point(tmp_path: Path):
    spec = spec_for(TOKENS, input_px=(96, 96), neighbourhood=3, stride=1, weights=weights_of(TOKENS, tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (8, 96, 96, 3), dtype=np.uint8)
    graph = quantized(spec, images, None)
    here, there = (load_extractor(spec, graph=each)(images).reshape(-1, 128) for each in (graph, None))
    cosine = (here * there).sum(axis=1) / np.linalg.norm(here, axis=1) / np.linalg.norm(there, axis=1)
    assert cosine.min() > 0.99


def test_the_file_kept_by_its_hash_holds_the_cut_network_as_it_was_trained(tmp_path: Path, cache: Path):
    backbone = load_backbone(TOKENS, weights=weights_of(TOKENS, tmp_path), input_px=(224, 224))
    kept = load_file(cache / "weights" / f"{backbone.weights_sha256}.safetensors")
    assert kept["model.pos_embed"].shape == (1, 101, 64)
    assert not any(name.startswith("model.blocks.5") for name in kept)
