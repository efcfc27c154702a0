"""People shrunk into scenes where nobody else is."""

import numpy as np
import pytest

from personseg import far_away as module
from personseg.far_away import far_away, without_people

SIZE = (160, 128)
GREEN, RED, GREY = (0, 255, 0), (255, 0, 0), (128, 128, 128)


def photo(colour, around):
    """A person of one colour in the lower middle of a photo."""
    image, target = np.full((200, 150, 3), around, np.uint8), np.zeros((200, 150), np.uint8)
    image[60:, 50:100], target[60:, 50:100] = colour, 1
    return image, target


def test_nobody_is_left_where_people_are_painted_over():
    emptied = without_people(*photo(RED, GREY))
    assert emptied.shape == (200, 150, 3) and emptied.dtype == np.uint8
    np.testing.assert_allclose(emptied, GREY[0], atol=3)


def test_nothing_but_people_changes_nothing_else():
    image = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    target = photo(RED, GREY)[1]
    emptied = without_people(image, target)
    assert np.array_equal(emptied[:50], image[:50]) and np.array_equal(emptied[:, :40], image[:, :40])
    assert without_people(image, np.ones_like(target)).shape == image.shape
    assert np.array_equal(without_people(image, np.zeros_like(target)), image)


@pytest.fixture
def scenes(monkeypatch):
    monkeypatch.setattr(module, "DRAWN_SHARE", 0.0)  # drawn scenes may be green
    front, behind = photo(GREEN, GREY), photo(RED, GREY)
    return [far_away(*front, *behind, SIZE, np.random.default_rng(seed)) for seed in range(200)]


def test_the_target_is_the_person_alone_and_everybody_else_is_gone(scenes):
    for image, target in scenes:
        green = image[..., 1].astype(int) - image[..., 0]
        assert image.dtype == target.dtype == np.uint8 and set(np.unique(target)) <= {0, 1}
        assert not (green < -20).any()  # nobody red
        if target.sum() > 200:  # of less the soft seam is too much
            both = (green > 127) & (target > 0)
            assert both.sum() > 0.9 * ((green > 127) | (target > 0)).sum()


def test_frames_and_people_are_of_many_sizes(scenes):
    shapes = np.array([target.shape for _, target in scenes])
    assert (shapes <= SIZE).all() and ((shapes[:, 0] == SIZE[0]) | (shapes[:, 1] == SIZE[1])).all()
    aspects = shapes[:, 1] / shapes[:, 0]
    assert aspects.min() < 0.65 and aspects.max() > 1.5
    tall = np.array([target.any(axis=1).mean() for _, target in scenes])
    empty = (tall == 0).mean()
    assert 0.03 < empty < 0.2
    assert np.quantile(tall[tall > 0], 0.1) < 0.15 and tall.max() > 0.4
    standing = np.mean([target[-1].any() for _, target in scenes if target.any()])
    assert 0.55 < standing < 0.85


def test_a_teachers_soft_target_stays_soft():
    image, target = photo(GREEN, GREY)
    soft = target * 200
    pairs = [far_away(image, soft, *photo(RED, GREY), SIZE, np.random.default_rng(seed), 255) for seed in range(9)]
    assert max(int(target.max()) for _, target in pairs) == 200


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.5, 0.3, 0.7), (1.0, 1, 1)])
def test_drawn_scenes_are_as_frequent_as_told(monkeypatch, share, least, most):
    monkeypatch.setattr(module, "DRAWN_SHARE", share)
    monkeypatch.setattr(module, "NOBODY", 1.0)
    pairs = [photo(GREEN, GREY), photo(RED, GREY)]
    seen = [far_away(*pairs[0], *pairs[1], SIZE, np.random.default_rng(seed))[0] for seed in range(40)]
    drawn = np.mean([not np.allclose(image, GREY[0], atol=3) for image in seen])  # else grey, with nobody
    assert least <= drawn <= most
