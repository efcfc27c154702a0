from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from personseg import training
from personseg.augment import LOW_LIGHT, build_augmentation
from personseg.cpu import float32_depthwise
from personseg.dataset import EpochSampler, PairDataset
from personseg.errors import UserError
from personseg.images import read_image, read_mask, write_image, write_mask
from personseg.losses import LOSSES, StructureLoss, WeightedLoss
from personseg.model import build_model
from personseg.paste import paste
from personseg.resume import resume_folder
from personseg.training import AveragedWeights, seed_everything, train_network
from tests.networks import architecture

TRAIN = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))["train"]
SIZE = (64, 64)
NOT_LIKELIHOODS = (
    *("elastic_alpha", "elastic_sigma", "shift", "scale", "rotate", "jpeg_quality"),
    *("brightness", "contrast", "hue", "saturation"),
)
STEMS = [str(i) for i in range(12)]
ARCHITECTURE = architecture("tu-tf_efficientnet_lite0", decoder_channels=[16, 16, 8, 8, 8])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for stem in STEMS:
        mask = np.zeros((60, 52), bool)
        top, left = rng.integers(4, 20, 2)
        mask[top : top + 34, left : left + 26] = True
        image = rng.integers(0, 90, (60, 52, 3)).astype(np.uint8)
        image[mask] += 130
        write_image(folder / "images" / f"{stem}.jpg", image)
        write_mask(folder / "masks" / f"{stem}.jpg", mask)
    return folder


def shrunk(**changes):
    return {**TRAIN, "epochs": 3, "batch_size": 4, "workers": 1, "learning_rate": 0.003, **changes}


def fit(pairs, state, **changes):
    state.mkdir(exist_ok=True)
    seed_everything(TRAIN["seed"])
    network = build_model(ARCHITECTURE)
    return train_network(network, pairs, {"train": STEMS[:8], "val": STEMS[8:]}, SIZE, shrunk(**changes), state)


def test_interrupted_training_goes_on_to_the_same_digits(pairs, tmp_path, monkeypatch):
    straight, history, best = fit(pairs, tmp_path / "straight")
    assert len(history) == 3 and 1 <= best <= 3
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]

    def stop(self, trainer, *args):
        if trainer.current_epoch == 1 and trainer.global_step == 3:
            raise RuntimeError("killed here")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed here"):
        patch.setattr(training.History, "on_train_batch_end", stop, raising=False)
        fit(pairs, tmp_path / "broken")
    resumed, history_resumed, best_resumed = fit(pairs, tmp_path / "broken")
    assert best_resumed == best
    assert history_resumed.equals(history)
    for name, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_sgd_plateau_and_summed_losses_train_too(pairs, tmp_path):
    _, history, _ = fit(
        pairs,
        tmp_path / "state",
        epochs=1,
        optimizer="sgd",
        schedule="plateau",
        ema_decay=0,
        loss={"focal": 1.0, "lovasz": 0.5},
        precision="32-true",
    )
    assert np.isfinite(history.to_numpy(float)).all()


def test_what_the_network_sees_depends_on_seed_epoch_and_index_only(pairs):
    def item(key, seed=1):
        dataset = PairDataset(pairs, STEMS, SIZE, build_augmentation(TRAIN["augment"]), seed)
        return dataset[key]

    dataset = PairDataset(pairs, STEMS, SIZE, build_augmentation(TRAIN["augment"]), 1)
    [dataset[(0, i)] for i in range(5)]  # earlier calls must not matter
    again = dataset[(2, 3)]
    image, mask = item((2, 3))
    assert torch.equal(again[0], image) and torch.equal(again[1], mask)
    assert image.shape == (3, *SIZE) and image.dtype == torch.uint8
    assert mask.shape == (1, *SIZE) and set(mask.unique().tolist()) <= {0.0, 1.0}
    different = [not torch.equal(item((epoch, 3))[0], image) for epoch in (0, 1, 3, 4)]
    assert any(different)


def test_pasted_people_are_in_the_mask(pairs):
    stem, behind = read_image(pairs / f"images/{STEMS[0]}.jpg"), read_image(pairs / f"images/{STEMS[1]}.jpg")
    mask, mask_behind = (read_mask(pairs / f"masks/{name}.jpg").astype(np.uint8) for name in STEMS[:2])
    image, both = paste(stem, mask, behind, mask_behind)
    assert image.shape == stem.shape and image.dtype == np.uint8
    inside, outside = cv2.erode(mask, np.ones((9, 9))) > 0, cv2.dilate(mask, np.ones((9, 9))) == 0
    assert np.array_equal(image[inside], stem[inside])
    assert np.array_equal(image[outside], behind[outside])  # of the same size
    assert np.array_equal(both, mask | mask_behind)
    wide = np.zeros((50, 400, 3), np.uint8)
    assert paste(stem, mask, wide, np.ones((50, 400), np.uint8))[1].all()


@pytest.mark.parametrize("scene", ["copy_paste", "far_away"])
def test_new_scenes_are_as_frequent_as_told(pairs, scene):
    plain = PairDataset(pairs, STEMS, SIZE, None, 1)

    def changed(probability):
        dataset = PairDataset(pairs, STEMS, SIZE, None, 1, **{scene: probability})
        keys = [(epoch, index) for epoch in range(5) for index in range(len(STEMS))]
        return sum(not torch.equal(dataset[key][0], plain[key][0]) for key in keys) / len(keys)

    assert changed(0.0) == 0 and changed(1.0) == 1
    assert 0.3 < changed(0.5) < 0.7


def test_structure_loss_weighs_the_contour_more():
    target = torch.zeros(1, 1, 64, 64)
    target[..., 16:48, 16:48] = 1
    sure = (target * 2 - 1) * 8
    deep, edge = sure.clone(), sure.clone()
    deep[..., 30:34, 30:34] *= -1
    edge[..., 16:20, 30:34] *= -1
    loss = StructureLoss()
    assert loss(edge, target) > loss(deep, target) > loss(sure, target)


def test_sampler_shuffles_anew_each_epoch_and_repeats_for_the_same():
    sampler = EpochSampler(20, seed=5)
    first = list(sampler)
    assert sorted(index for _, index in first) == list(range(20))
    sampler.set_epoch(1)
    assert [i for _, i in sampler] != [i for _, i in first]
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_weighted_sampler_draws_as_often_as_the_weights_say():
    sampler = EpochSampler(4, seed=5, weights=[0, 1, 1, 2])
    drawn = [index for epoch in range(500) for _, index in (sampler.set_epoch(epoch), list(sampler))[1]]
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0, 0.25, 0.25, 0.5], atol=0.05)
    sampler.set_epoch(0)
    assert list(sampler) == list(sampler)
    keys = [key for epoch in range(9) for key in (sampler.set_epoch(epoch), list(sampler))[1]]
    assert len(set(keys)) == len(keys) == 36, "drawn again, an item is augmented in another way"


def test_an_epoch_can_be_shorter_or_longer_and_goes_on_where_the_last_one_stopped():
    for count in (7, 50):
        sampler = EpochSampler(20, seed=5, count=count)
        assert len(sampler) == count
        drawn = [key for epoch in range(20) for key in (sampler.set_epoch(epoch), list(sampler))[1]]
        assert len(set(drawn)) == len(drawn) == 20 * count
        assert set(np.bincount([index for _, index in drawn])) == {count}
    weighted = EpochSampler(4, seed=5, weights=[0, 1, 1, 2], count=9)
    assert len(list(weighted)) == len(weighted) == 9
    mixed = EpochSampler(20, seed=5, unlabelled=50, labelled_share=0.5, count=8)
    assert sum(index < 20 for _, index in mixed) == 4 and len(list(mixed)) == 8


def test_an_epoch_with_unlabelled_photos_is_no_longer_and_leaves_none_out():
    sampler = EpochSampler(20, seed=5, unlabelled=50, labelled_share=0.5)
    assert len(sampler) == 20
    drawn = []
    for epoch in range(20):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert len(keys) == 20 and sum(index < 20 for _, index in keys) == 10
        assert keys == list(sampler)
        drawn += keys
    assert len(set(drawn)) == len(drawn), "an item never comes twice in one pass"
    counts = np.bincount([index for _, index in drawn], minlength=70)
    assert set(counts[:20]) == {10} and set(counts[20:]) == {4}
    first = [index for _, index in drawn[:20]]
    assert sorted(first) != first and max(first[:10]) >= 20 > min(first[10:]), "the two kinds are mixed"
    assert [i for _, i in EpochSampler(20, seed=5)] == [i for _, i in EpochSampler(20, seed=5, labelled_share=0.5)]


def test_a_group_of_augmentations_can_be_turned_off():
    off = TRAIN["augment"] | dict.fromkeys(("hue_saturation", "gray", "low_light", "blur", "noise"), 0)
    photo = np.full((32, 32, 3), 90, np.uint8)
    assert build_augmentation(off)(image=photo, mask=photo[..., 0])["image"].shape == photo.shape


def test_low_light_is_what_is_left_of_the_light():
    others = {name: value for name, value in TRAIN["augment"].items() if name in NOT_LIKELIHOODS}
    none = dict.fromkeys(TRAIN["augment"], 0) | others
    dark = build_augmentation(none | {"low_light": 1})
    photo = np.full((8, 8, 3), 200, np.uint8)
    left = [float(dark(image=photo, mask=photo[..., 0])["image"].mean()) / 200 for _ in range(50)]
    assert LOW_LIGHT[0] - 0.01 < min(left) < 0.25 and 0.45 < max(left) < LOW_LIGHT[1] + 0.01
    assert np.array_equal(build_augmentation(none)(image=photo, mask=photo[..., 0])["image"], photo)


def test_all_six_augmentations_of_the_report_are_there():
    text = repr(build_augmentation(TRAIN["augment"]))
    for name in ("HorizontalFlip", "VerticalFlip", "ElasticTransform", "Affine", "ImageCompression"):
        assert name in text
    assert "RandomBrightnessContrast" in text


@pytest.mark.parametrize("name", LOSSES)
def test_losses_prefer_the_right_mask(name):
    target = torch.zeros(2, 1, 16, 16)
    target[:, :, 4:12, 4:12] = 1
    loss = WeightedLoss({name: 1.0}, 2.0)
    right, wrong = (target * 2 - 1) * 6, (1 - target * 2) * 6
    assert loss(right, target) < 0.05 < loss(wrong, target)
    doubled = WeightedLoss({name: 2.0}, 2.0)
    torch.testing.assert_close(doubled(wrong, target), 2 * loss(wrong, target))


def test_focal_loss_is_the_papers_formula():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    p = torch.where(target > 0, torch.sigmoid(logits), 1 - torch.sigmoid(logits))
    torch.testing.assert_close(WeightedLoss({"focal": 1.0}, 2.0)(logits, target), (-((1 - p) ** 2) * p.log()).mean())


def test_losses_of_weight_0_are_left_out():
    logits, target = torch.randn(2, 1, 8, 8), (torch.rand(2, 1, 8, 8) > 0.5).float()
    both = WeightedLoss({"focal": 0, "dice": 1.0}, 2.0)
    assert list(both.terms) == ["dice"]
    assert both(logits, target) == WeightedLoss({"dice": 1.0}, 2.0)(logits, target)
    with pytest.raises(UserError, match=r"train\.loss: empty"):
        WeightedLoss({"focal": 0}, 2.0)


def test_unknown_loss_is_named():
    with pytest.raises(UserError, match=r"train\.loss: hinge"):
        WeightedLoss({"hinge": 1.0}, 2.0)


def test_resume_state_of_other_params_is_void_and_one_trainer_runs(tmp_path):
    folder = tmp_path / "resume" / "train"
    with pytest.raises(KeyboardInterrupt), resume_folder(folder, "a") as state:
        torch.save({"epoch": 1}, state / "last.ckpt")
        torch.save({"epoch": 1}, state / "best.ckpt")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), resume_folder(folder, "a") as state:
        assert torch.load(state / "last.ckpt", weights_only=True) == {"epoch": 1}
        with pytest.raises(UserError, match="another training"), resume_folder(folder, "a"):
            pass
        raise KeyboardInterrupt
    with resume_folder(folder, "b") as state:
        assert not (state / "last.ckpt").exists()
    assert not folder.exists()


def test_depthwise_convolutions_compute_in_float32_and_are_given_back():
    network = build_model(ARCHITECTURE).train()
    kinds = [type(module) for module in network.modules()]
    images = torch.rand(2, 3, 64, 64) * 255
    seen = []
    depthwise = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.groups == m.in_channels > 1)
    with float32_depthwise(network):
        assert [type(module) for module in network.modules()] != kinds
        depthwise.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
        copy = deepcopy(network)
        with torch.no_grad():
            for parameter in copy.parameters():
                parameter.zero_()
        with torch.autocast("cpu", torch.bfloat16):
            network(images)
            assert not copy.encoder(images)[-1].any(), "a copy must compute with its own weights"
    assert seen[0] == (torch.bfloat16, torch.bfloat16)
    assert [type(module) for module in network.modules()] == kinds

    x = torch.rand(1, depthwise.in_channels, 9, 9).bfloat16()
    exact = depthwise.forward(x.float())
    with float32_depthwise(network), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(depthwise.forward(x), exact.bfloat16(), rtol=0, atol=0)


def test_averaging_starts_as_the_last_weights_and_ends_with_its_decay():
    average = AveragedWeights(0.9)._kwargs["multi_avg_fn"]
    for updates, expected in ((1, 1 - 2 / 11), (10_000, 0.1)):
        means = [torch.zeros(1), torch.zeros(2)]
        average(means, [torch.ones(1), torch.ones(2)], torch.tensor(updates))
        assert torch.cat(means).tolist() == pytest.approx([expected] * 3)
    counts = [torch.tensor(3)]
    average(counts, [torch.tensor(4)], torch.tensor(1))
    assert counts == [torch.tensor(4)]
