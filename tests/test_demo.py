"""The demo page, driven by a browser as its user would."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from personseg.demo import PREVIEW, TRANSPARENT, Demo, Wish, cut_out, preview, read_colour, serve
from personseg.errors import UserError
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig
from personseg.segmenter import Segmenter
from tests.browser import browser
from tests.networks import architecture


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "person"
    torch.manual_seed(0)
    save_model(folder, build_model(architecture()), ModelConfig(architecture=architecture(), input_size=(96, 96)))
    return folder


@pytest.fixture(scope="module")
def address(model: Path) -> str:
    return serve(model, "127.0.0.1", 0, block=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "somebody.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1000, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def page(address: str) -> Iterator[Any]:
    with browser() as chromium:
        opened = chromium.new_page()
        opened.elsewhere = []
        opened.on("request", lambda request: opened.elsewhere.append(request.url))
        opened.goto(address)
        opened.get_by_text("People cut out").wait_for()
        yield opened


def figures(page: Any) -> str:
    found = page.get_by_text("photo to mask", exact=False).filter(has_text="px,")
    found.wait_for()
    return str(found.inner_text())


def test_a_photo_is_cut_out_and_downloads_have_its_own_size(
    page: Any, photo: Path, model: Path, tmp_path: Path
) -> None:
    page.locator("input[type=file]").first.set_input_files(photo)
    assert figures(page).startswith("1000 x 1500 px")
    for button, ending, mode in (("Download result", "cutout", "RGBA"), ("Download mask", "mask", "L")):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=button).click()  # once it is enabled
        saved = tmp_path / f"{ending}.png"
        waiting.value.save_as(saved)
        assert waiting.value.suggested_filename == f"somebody_{ending}.png"
        with Image.open(saved) as picture:
            assert (picture.size, picture.mode) == ((1000, 1500), mode)
    with Image.open(tmp_path / "cutout.png") as result, Image.open(tmp_path / "mask.png") as mask:
        assert np.array_equal(np.asarray(result)[..., 3], np.asarray(mask))


def test_an_example_is_one_click_and_every_choice_changes_the_result(page: Any) -> None:
    page.get_by_role("button").filter(has=page.locator("img")).first.click()
    figures(page)
    shown = page.get_by_role("tabpanel").locator("img").first
    sources = [shown.get_attribute("src")]
    for choice in ("blurred", "a colour"):
        page.get_by_label(choice, exact=True).check()
        page.wait_for_function(
            "old => !old.includes(document.querySelector('[role=tabpanel] img').src)", arg=list(sources)
        )
        sources.append(shown.get_attribute("src"))
    page.get_by_text("Colour", exact=True).wait_for()
    page.get_by_role("button", name="Every runtime on this photo").click()
    page.get_by_role("button", name="Time them").click()
    page.get_by_text("pytorch_fp32", exact=True).filter(visible=True).first.wait_for()  # the table has hidden copies


def test_before_and_after_lie_under_a_slider(page: Any, photo: Path) -> None:
    page.locator("input[type=file]").first.set_input_files(photo)
    figures(page)
    page.get_by_role("tab", name="Before and after").click()
    panel = page.get_by_role("tabpanel").filter(visible=True)
    panel.locator("img").nth(1).wait_for()
    sources = [picture.get_attribute("src") for picture in panel.locator("img").all()]
    assert len(set(sources)) == 2, "the photo and what was made of it"
    box = panel.locator("img").first.bounding_box()
    handle = panel.locator(".outer, .inner").first
    before = handle.bounding_box()["x"]
    page.mouse.move(before + 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(before - box["width"] / 4, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    assert handle.bounding_box()["x"] < before - 10


def test_the_camera_takes_a_photo(page: Any) -> None:
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").or_(page.get_by_label("capture photo")).first.click()
    # A photo taken before the camera's first frame is none.
    page.wait_for_function("[...document.querySelectorAll('video')].some(video => video.videoWidth > 0)")
    page.get_by_label("capture photo").click()
    assert re.match(r"\d+ x \d+ px", figures(page))


def test_a_mistake_is_said_on_the_page_and_nothing_is_asked_of_the_net(
    page: Any, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    page.locator("input[type=file]").first.set_input_files(photo)
    figures(page)
    page.get_by_label("a picture", exact=True).check()
    page.get_by_text("No picture to put behind yet").wait_for()
    said = page.get_by_test_id("toast-body")
    assert said.count() == 0, "nobody was wrong yet"
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    page.locator("input[type=file]").nth(1).set_input_files(text)
    said.get_by_text("text.jpg: not a readable image", exact=True).wait_for()
    assert "Traceback" not in capfd.readouterr().err
    page.get_by_role("tab", name="Before and after").click()
    page.get_by_role("tab", name="Mask").click()
    outside = [url for url in page.elsewhere if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
    assert outside == []


def test_a_phone_shows_it_without_scrolling_sideways(page: Any, photo: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("input[type=file]").first.set_input_files(photo)
    figures(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_an_unreadable_photo_is_one_line(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    demo = Demo(model)
    wish = Wish(demo.preferred, TRANSPARENT, "#000000", None, False)
    with pytest.raises(UserError, match=r"^broken\.jpg: "):  # not the folder that the page keeps it in
        demo.segment(str(broken), wish)
    with pytest.raises(UserError, match="no photo yet"):
        demo.time_all(None)
    assert demo.segment(None, wish)[0] is None


def test_a_photo_is_segmented_once_for_all_that_is_asked_of_it(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = Demo(model)
    looks: list[str] = []
    predict = Segmenter.predict

    def counted(self: Segmenter, image: Any) -> Any:
        looks.append(self.runtime_name)
        return predict(self, image)

    monkeypatch.setattr(Segmenter, "predict", counted)
    other = Wish("pytorch_fp32", "blurred", "#000000", None, False)
    shown = demo.segment(str(photo), Wish("pytorch_fp32", TRANSPARENT, "#000000", None, False))
    assert not np.array_equal(demo.segment(str(photo), other)[0], shown[0][..., :3])
    demo.files(str(photo), other)
    assert looks == ["pytorch_fp32"]


def test_the_networks_time_is_a_part_of_photo_to_mask(model: Path, photo: Path) -> None:
    demo = Demo(model)
    found = demo.find(str(photo), "pytorch_fp32")
    assert 0 < found.network_ms < found.mask_ms
    demo.segmenters = {"pytorch_fp32": demo.segmenters["pytorch_fp32"]}
    ((name, network_ms, mask_ms),) = demo.time_all(str(photo))
    assert name == "pytorch_fp32" and 0 < network_ms < mask_ms


def test_backgrounds(tmp_path: Path) -> None:
    image = np.full((40, 30, 3), 200, np.uint8)
    mask = np.zeros((40, 30), bool)
    mask[10:, 10:20] = True
    behind = tmp_path / "behind.png"
    Image.new("RGB", (50, 50), (0, 0, 90)).save(behind)

    def made(kind: str) -> Any:
        return cut_out(image, mask, Wish("pytorch_fp32", kind, "#102030", str(behind), False))

    assert made("transparent").shape == (40, 30, 4)
    for kind, colour in (("a colour", (16, 32, 48)), ("a picture", (0, 0, 90)), ("blurred", (200, 200, 200))):
        np.testing.assert_allclose(made(kind)[0, 0], colour, atol=1)
        assert tuple(made(kind)[30, 15]) == (200, 200, 200)
    waiting = Wish("pytorch_fp32", "a picture", "#102030", None, False)
    np.testing.assert_array_equal(cut_out(image, mask, waiting), made("transparent"))


def test_colours_as_the_picker_gives_them() -> None:
    assert read_colour("#20a0ff") == read_colour("rgba(31.6, 160.2, 255, 1)") == (32, 160, 255)


def test_previews_are_small_and_in_proportion() -> None:
    assert preview(np.zeros((PREVIEW * 2, PREVIEW, 4), np.uint8)).shape == (PREVIEW, PREVIEW // 2, 4)
    assert preview(np.zeros((10, 20), np.uint8)).shape == (10, 20)


def test_without_a_model_or_with_a_taken_port_one_line_says_so(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        serve(tmp_path / "nowhere", "127.0.0.1", 0, block=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="--port"):
            serve(model, "127.0.0.1", taken.getsockname()[1], block=False)


def test_it_needs_no_more_than_the_models_folder(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "alone")
    demo = Demo(copy)
    assert list(demo.segmenters) == ["pytorch_fp32", *(name for name in demo.segmenters if name != "pytorch_fp32")]
    assert [Path(path).is_file() for path in demo.examples()] == [True] * 4
