import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from personseg.errors import UserError
from personseg.model import (
    ConcatUnet,
    build_model,
    load_model,
    mirror,
    photo_width,
    report_unet,
    save_model,
    start_from,
)
from personseg.model_config import ModelConfig, describe_weights, read_config
from personseg.weights import build_encoder
from tests.networks import architecture

ENCODERS = ["tu-tf_efficientnet_lite0", "tu-tf_efficientnet_lite1", "tu-tf_efficientnet_lite2", "resnet34"]


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("attention", [None, "scse"])
def test_every_decoder_output_reaches_the_head(encoder, attention):
    model = build_model(architecture(encoder, attention=attention)).eval()
    assert isinstance(model, ConcatUnet)
    x = torch.rand(2, 3, 64, 96) * 255
    outputs = model.decode(model.encoder((x - model.mean) / model.std))
    assert [tuple(y.shape) for y in outputs] == [
        (2, channels, 64 >> shift, 96 >> shift)
        for channels, shift in zip([32, 16, 16, 16, 16], [4, 3, 2, 1, 0], strict=True)
    ]
    logits = model(x)
    assert logits.shape == (2, 1, 64, 96) and logits.dtype == torch.float32
    # Each output alone must change the result: none is left out of the concatenation.
    plain = model.join(outputs)
    for i in range(5):
        changed = [y + (1.0 if i == j else 0.0) for j, y in enumerate(outputs)]
        assert (model.join(changed) - plain).abs().max() > 1e-4


def test_join_is_a_convolution_of_the_concatenated_outputs():
    torch.manual_seed(0)
    model = build_model(architecture()).eval()
    outputs = [torch.randn(1, c, 64 >> s, 64 >> s) for c, s in zip([32, 16, 16, 16, 16], [4, 3, 2, 1, 0], strict=True)]
    full = []
    for shift, y in zip([4, 3, 2, 1, 0], outputs, strict=True):
        for _ in range(shift):
            y = F.interpolate(y, scale_factor=2, mode="bilinear", align_corners=False)
        full.append(y)
    weight = torch.cat([join.weight for join in model.joins], dim=1)
    literal = F.conv2d(torch.cat(full, dim=1), weight, model.joins[0].bias)
    torch.testing.assert_close(model.join(outputs), literal, rtol=1e-4, atol=1e-5)


def test_four_decoder_blocks_end_at_half_the_resolution_and_logits_at_the_whole():
    torch.manual_seed(0)
    model = build_model(architecture(decoder_channels=[32, 16, 16, 8])).eval()
    x = torch.rand(2, 3, 64, 96) * 255
    outputs = model.decode(model.encoder((x - model.mean) / model.std))
    assert [tuple(y.shape[1:]) for y in outputs] == [(32, 4, 6), (16, 8, 12), (16, 16, 24), (8, 32, 48)]
    half = model.head(model.join(outputs))
    assert half.shape == (2, 1, 32, 48)
    torch.testing.assert_close(model(x), F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False))


def padded(photos: Tensor, width: int) -> Tensor:
    return F.pad(photos, (0, width - photos.shape[-1], 0, 0))


@pytest.mark.parametrize("decoder_channels", [[16, 16, 8, 8], [16, 16, 8, 8, 8]])
def test_flip_average_makes_a_mirrored_photo_a_mirrored_mask(decoder_channels: list[int]) -> None:
    torch.manual_seed(0)
    model = build_model(architecture(flip_average=True, decoder_channels=decoder_channels))
    plain = build_model(architecture(decoder_channels=decoder_channels))
    plain.load_state_dict(model.state_dict())
    photos = [torch.rand(1, 3, 64, width) * 255 for width in (96, 70)]  # one fills the network's width
    x = torch.cat([padded(photo, 96) for photo in photos])
    mirrored = torch.cat([padded(photo.flip(-1), 96) for photo in photos])
    results = [model.eval().coarse(x), model.coarse(mirrored), plain.eval().coarse(x), plain.coarse(mirrored)]
    for number, photo in enumerate(photos):
        width = photo.shape[-1] * results[0].shape[-1] // 96
        mean, of_mirrored, once, other = (logits[number, ..., :width] for logits in results)
        torch.testing.assert_close(mean, (once + other.flip(-1)) / 2)
        torch.testing.assert_close(of_mirrored.flip(-1), mean)
        assert (mean - once).abs().max() > 1e-3


def test_padding_stays_on_its_side() -> None:
    photo = torch.arange(1.0, 8).expand(1, 3, 2, 7)
    images = torch.cat([padded(photo, 10), padded(photo.flip(-1), 10), torch.zeros(1, 3, 2, 10)])
    assert photo_width(images, 1).tolist() == [7, 7, 0] and photo_width(images, 2).tolist() == [8, 8, 0]
    found = mirror(images, photo_width(images, 1))
    torch.testing.assert_close(found, images[[1, 0, 2]])
    torch.testing.assert_close(mirror(found, photo_width(images, 1)), images)


def test_report_unet_starts_from_the_weights_it_is_given(tmp_path):
    encoder = build_encoder("resnet34", "none")
    save_file(encoder.state_dict(), tmp_path / "resnet34.safetensors")
    model = build_model({"name": "report_unet", "dropout": 0.5}, str(tmp_path / "resnet34.safetensors"))
    assert torch.equal(model.stem[0].weight, encoder.conv1.weight)
    assert torch.equal(model.encoder[3][0].conv1.weight, encoder.layer4[0].conv1.weight)


def test_report_unet_keeps_the_stem_without_max_pooling():
    model = report_unet()
    x = torch.rand(1, 3, 64, 64) * 255
    assert model(x).shape == (1, 1, 64, 64)
    assert not any(isinstance(module, torch.nn.MaxPool2d) for module in model.stem)
    assert model.head[0].in_channels == 320


def test_saved_model_gives_the_same_logits_and_notices_damage(tmp_path):
    model = build_model(architecture(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])).eval()
    config = ModelConfig(
        architecture=architecture(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0]), input_size=(64, 64), threshold=0.4
    )
    save_model(tmp_path / "m", model, config)
    loaded, read = load_model(tmp_path / "m")
    x = torch.rand(1, 3, 64, 64) * 255
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=0)
    assert (read.threshold, read.input_size, loaded.mean.flatten().tolist()) == (0.4, (64, 64), [1.0, 2.0, 3.0])

    weights = tmp_path / "m" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match="does not match the sha256"):
        load_model(tmp_path / "m")
    weights.unlink()
    with pytest.raises(UserError, match="incomplete"):
        load_model(tmp_path / "m")
    text = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps({**text, "surprise": 1}))
    with pytest.raises(UserError, match="surprise"):
        load_model(tmp_path / "m")


def test_a_training_starts_from_a_finished_model(tmp_path):
    torch.manual_seed(0)
    finished = build_model(architecture()).eval()
    save_model(tmp_path / "m", finished, ModelConfig(architecture=architecture(), input_size=(64, 64)))
    begun = start_from(build_model(architecture(dropout=0.5)), str(tmp_path / "m")).eval()
    x = torch.rand(1, 3, 64, 64) * 255
    torch.testing.assert_close(begun(x), finished(x), rtol=0, atol=0)
    with pytest.raises(UserError, match=r"model\.weights: .*/m is another network .*size mismatch"):
        start_from(build_model(architecture(decoder_channels=[32, 16, 16, 16, 8])), str(tmp_path / "m"))
    (tmp_path / "m" / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json"):
        start_from(build_model(architecture()), str(tmp_path / "m"))


def test_what_a_training_starts_from_is_told_apart_by_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def described(weights, **changes):
        return describe_weights({**architecture(**changes), "weights": weights})

    assert described("imagenet") != described("none")
    encoder = Path("encoder.safetensors")
    encoder.write_bytes(b"1")
    before = described(str(encoder))
    encoder.write_bytes(b"2")
    assert described(str(encoder)) != before
    for folder in ("models/first", "models/person"):
        save_model(folder, build_model(architecture()), ModelConfig(architecture=architecture(), input_size=(64, 64)))
    assert described("models/first") == {"weights": read_config("models/first").sha256}
    with pytest.raises(UserError, match=r"models/first has decoder_channels .*, not \[8, 8, 8, 8\] as model\.dec"):
        described("models/first", decoder_channels=[8, 8, 8, 8])
    with pytest.raises(UserError, match=r"models/person is what the training will replace"):
        described("models/person")
    with pytest.raises(UserError, match=r"model\.weights: nothing at nowhere"):
        described("nowhere")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    with pytest.raises(UserError, match=r"models/person is what the training will replace"):
        described(str(tmp_path / "models/person"))


def test_unknown_architecture_and_encoder_are_named():
    with pytest.raises(UserError, match="transformer"):
        build_model(architecture(name="transformer"))
    with pytest.raises(UserError, match=r"model\.encoder.*resnet3000"):
        build_model(architecture("resnet3000"))
