"""The review page: what people decide is saved at once, whoever else writes, and nothing else can be done with it."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from personseg.audit import audit
from personseg.categories import mended_path, read_categories
from personseg.files import read_table
from personseg.filtering import BY_HAND, filter_masks
from personseg.images import Mask, read_mask, write_image, write_mask
from personseg.review.server import MAX_UPLOAD, make_app
from personseg.review.store import Conflict, ReviewStore
from tests.browser import browser, served
from tests.figures import LIMITS, disc, person, with_many_spots, with_rim, write_folds

HEADERS = {"X-Personseg": "review"}
STEMS = ["1", "2", "3", "4", "odd name & more"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photos, audited: a good mask, a hair gap, spots, an empty mask, and a good one with an odd name."""
    folder = tmp_path_factory.mktemp("data")
    truths = {}
    for number, stem in enumerate(STEMS):
        image, truth = person(number)
        given = {1: with_rim(truth, 7), 2: truth | disc(truth.shape, (20, 40), 9), 3: np.zeros_like(truth)}
        write_image(folder / "jpg/images" / f"{stem}.jpg", image)
        write_mask(folder / "jpg/masks" / f"{stem}.jpg", given.get(number, truth))
        truths[stem] = truth
    write_folds(folder / "folds", truths)
    audit(folder / "jpg", folder / "folds", folder / "scores.csv", folder / "sheets", LIMITS, 1, 0)
    return folder


@pytest.fixture
def categories(tmp_path: Path) -> Path:
    return tmp_path / "data/categories/set.csv"


@pytest.fixture
def client(data: Path, categories: Path) -> TestClient:
    app = make_app(data / "jpg", data / "folds", data / "scores.csv", categories, LIMITS, ["testserver"])
    return TestClient(app)


def row(category: int, **others: str) -> dict[str, Any]:
    return {"category": category, "defects": "", "reviewer": "", "note": "", **others}


def save(client: TestClient, stem: str, new: Any, expected: Any, **changes: Any) -> Any:
    options = {"params": {"stem": stem}, "json": {"row": new, "expected": expected}, "headers": HEADERS, **changes}
    return client.put("/api/review", **options)


def png(mask: Mask) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    return buffer.getvalue()


def test_worst_first_with_what_was_measured(client: TestClient) -> None:
    told = client.get("/api/masks").json()
    assert told["name"] == "set" and sorted(item["stem"] for item in told["masks"]) == sorted(STEMS)
    qualities = [item["quality"] for item in told["masks"]]
    assert qualities == sorted(qualities)
    by_stem = {item["stem"]: item for item in told["masks"]}
    assert "hair gap" in by_stem["2"]["reasons"] and by_stem["2"]["suggested"] > 1 and by_stem["1"]["suggested"] == 1
    assert by_stem["3"]["measures"]["spots"] == 1 and not any(item["mended"] or item["row"] for item in told["masks"])


def test_a_decision_is_on_disk_at_once_and_can_be_taken_back(client: TestClient, categories: Path) -> None:
    new = row(2, defects="hair_gap;spots", reviewer="ann", note='left, "behind" the ear')
    assert save(client, STEMS[4], new, None).status_code == 200
    review = read_categories(categories, STEMS)[STEMS[4]]
    assert (review.category, review.defects, review.note) == (2, "hair_gap;spots", new["note"])
    assert next(item for item in client.get("/api/masks").json()["masks"] if item["stem"] == STEMS[4])["row"] == new
    assert save(client, STEMS[4], None, new).status_code == 200
    assert read_categories(categories, STEMS) == {}


def test_a_row_changed_elsewhere_is_not_overwritten(client: TestClient, categories: Path) -> None:
    assert save(client, "1", row(1), None).status_code == 200
    late = save(client, "1", row(3), None)
    assert late.status_code == 412 and late.json()["current"] == row(1)
    assert save(client, "2", row(3), None).status_code == 200, "other rows are free"
    assert read_categories(categories, STEMS)["1"].category == 1
    assert save(client, "1", row(3), row(1)).status_code == 200


def test_many_writers_lose_no_row(tmp_path: Path) -> None:
    stems = [str(number) for number in range(60)]
    path = tmp_path / "data/categories/set.csv"

    def write(stem: str) -> None:
        ReviewStore(path, stems).save(stem, row(1 + int(stem) % 3), None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, stems))
    assert {stem: review.category for stem, review in read_categories(path, stems).items()} == {
        stem: 1 + int(stem) % 3 for stem in stems
    }
    assert [each.name for each in path.parent.iterdir()] == ["set.csv"], "the folder is a dependency of stages"
    with pytest.raises(Conflict):
        ReviewStore(path, stems).save("7", row(1), None)


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (row(4), None),
        (row(0), None),
        ({"category": 1, "colour": "red"}, None),
        (row(1, defects="<b>"), None),
        (row(1, note="n" * 3000), None),
    ],
)
def test_what_is_no_decision_is_refused(new: Any, expected: Any, client: TestClient, categories: Path) -> None:
    assert save(client, "1", new, expected).status_code == 422
    assert not categories.exists()


def test_other_pages_hosts_and_files_are_refused(client: TestClient, data: Path, categories: Path) -> None:
    assert save(client, "1", row(1), None, headers={}).status_code == 403
    assert client.put("/api/mended", params={"stem": "1"}, content=b"x").status_code == 403
    assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
    for stem in ("../../scores", "9", "", "1.jpg", "/etc/passwd"):
        for path in ("photo", "mask", "defects", "repair"):
            assert client.get(f"/api/{path}", params={"stem": stem}).status_code == 404
        assert save(client, stem, row(1), None).status_code == 404
    for name in ("server.py", "..%2Fserver.py", "review.html"):
        assert client.get(f"/page/{name}").status_code == 404
    assert client.get("/docs").status_code == 404 and not categories.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"no picture", 422),
        (png(np.ones((320, 240), bool))[:90], 422),
        (png(np.ones((32, 24), bool)), 422),
        (b"\0" * (MAX_UPLOAD + 1), 413),
    ],
)
def test_only_a_whole_mask_of_the_photos_size_is_taken(
    body: bytes, status: int, client: TestClient, categories: Path
) -> None:
    answer = client.put("/api/mended", params={"stem": "1"}, content=body, headers=HEADERS)
    assert answer.status_code == status
    assert not mended_path(categories, "1").exists()


def test_a_body_of_no_stated_length_is_not_taken(client: TestClient) -> None:
    for path in ("/api/mended", "/api/review"):
        answer = client.put(path, params={"stem": "1"}, content=iter([b"{", b"}"]), headers=HEADERS)
        assert answer.status_code == 411


def test_a_mended_mask_is_shown_and_trained_on(client: TestClient, data: Path, categories: Path) -> None:
    truth = person(3)[1]
    sent = client.put("/api/mended", params={"stem": "4"}, content=png(truth), headers=HEADERS)
    assert sent.status_code == 200 and save(client, "4", row(2), None).status_code == 200
    shown = np.asarray(Image.open(io.BytesIO(client.get("/api/mask", params={"stem": "4"}).content))) > 127
    np.testing.assert_array_equal(shown, truth)
    original = client.get("/api/mask", params={"stem": "4", "original": True}).content
    assert not np.asarray(Image.open(io.BytesIO(original))).any()

    out = categories.parents[2] / "clean"
    counts = filter_masks(data / "jpg", data / "folds", data / "scores.csv", categories, out, LIMITS, workers=1)
    manifest = read_table(out / "manifest.csv").set_index("stem")
    assert manifest.loc["4", "repair"] == BY_HAND and manifest.loc["4", "kept"] == 1 and counts["repaired"] >= 1
    np.testing.assert_array_equal(read_mask(out / "masks/4.jpg"), truth)

    assert client.delete("/api/mended", params={"stem": "4"}, headers=HEADERS).status_code == 200
    assert not mended_path(categories, "4").exists()


def test_a_mask_with_no_pixel_changed_is_not_taken(client: TestClient, data: Path, categories: Path) -> None:
    given, truth = read_mask(data / "jpg/masks/3.jpg"), person(2)[1]
    for sent, status in ((given, 400), (truth, 200), (given, 400)):
        answer = client.put("/api/mended", params={"stem": "3"}, content=png(sent), headers=HEADERS)
        assert answer.status_code == status
    assert "no pixel differs" in answer.json()["detail"]
    np.testing.assert_array_equal(read_mask(mended_path(categories, "3")), truth)


def test_the_automatic_repair_says_what_it_does(client: TestClient) -> None:
    repaired = client.get("/api/repair", params={"stem": "3"})
    assert "spots removed" in repaired.headers["X-Steps"]
    mask = np.asarray(Image.open(io.BytesIO(repaired.content))) > 127
    assert not mask[30:50, 10:30].any() and mask[200:].any()
    marked = np.asarray(Image.open(io.BytesIO(client.get("/api/defects", params={"stem": "3"}).content)))
    assert marked[40, 20, 3] > 0 and tuple(marked[40, 20, :3]) == (255, 0, 255) and not marked[200, 120, 3]


def test_the_automatic_repair_gives_what_the_road_would_undo(client: TestClient, categories: Path) -> None:
    truth = person(0)[1]
    write_mask(mended_path(categories, "1"), with_many_spots(truth))
    repaired = client.get("/api/repair", params={"stem": "1"})
    assert "spots removed" in repaired.headers["X-Steps"]
    mask = np.asarray(Image.open(io.BytesIO(repaired.content))) > 127
    np.testing.assert_array_equal(mask[:260], truth[:260])  # lower down the spots touch the person


def test_a_faulty_file_is_told_of(data: Path, categories: Path, client: TestClient) -> None:
    categories.parent.mkdir(parents=True)
    categories.write_text("stem,category\n1,7\n")
    answer = save(client, "2", row(1), None)
    assert answer.status_code == 409 and "line 2" in answer.json()["detail"]
    assert categories.read_text() == "stem,category\n1,7\n"


# ---- in a browser ----


@pytest.fixture
def page(data: Path, categories: Path) -> Iterator[Any]:
    app = make_app(data / "jpg", data / "folds", data / "scores.csv", categories, LIMITS)
    with served(app) as address, browser() as chromium:
        context = chromium.new_context(viewport={"width": 1200, "height": 800}, base_url=address)
        opened = context.new_page()
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        opened.goto("/")
        opened.wait_for_selector("body[data-stem]")
        yield opened
        assert not faults


def worst_first(data: Path) -> list[str]:
    return read_table(data / "scores.csv").sort_values("quality", kind="stable")["stem"].tolist()


def wait_for_rows(categories: Path, expected: dict[str, int]) -> None:
    deadline = time.monotonic() + 10
    while (found := {s: r.category for s, r in read_categories(categories, STEMS).items()}) != expected:
        assert time.monotonic() < deadline, (found, expected)
        time.sleep(0.05)


def on_screen(page: Any, stem: str) -> None:
    page.wait_for_function("stem => document.body.dataset.stem === stem", arg=stem)


def test_keys_sort_masks_and_take_decisions_back(page: Any, data: Path, categories: Path) -> None:
    order = worst_first(data)
    on_screen(page, order[0])
    page.keyboard.press("3")
    on_screen(page, order[1])
    page.keyboard.press("2")
    on_screen(page, order[2])
    wait_for_rows(categories, {order[0]: 3, order[1]: 2})
    page.check("#defects input[value=spots]")
    page.fill("#note", "1 2 3 are only text here")
    page.click("[data-category='2']")
    wait_for_rows(categories, {order[0]: 3, order[1]: 2, order[2]: 2})
    review = read_categories(categories, STEMS)[order[2]]
    assert (review.defects, review.note) == ("spots", "1 2 3 are only text here")
    page.keyboard.press("u")
    page.keyboard.press("u")
    wait_for_rows(categories, {order[0]: 3})
    on_screen(page, order[1])
    assert page.inner_text("#count") == f"1 of {len(STEMS)} reviewed"
    page.reload()
    on_screen(page, order[1])  # the first that is to do


def test_ticks_and_notes_wait_for_a_category(page: Any, data: Path, categories: Path) -> None:
    first, second = worst_first(data)[:2]
    asked: list[str] = []

    def leave(dialog: Any) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    page.reload()
    on_screen(page, first)
    assert not asked
    page.check("#defects input[value=holes]")
    page.fill("#note", "left ear ")
    page.click("#next")
    on_screen(page, second)
    assert not page.is_checked("#defects input[value=holes]") and not page.input_value("#note")
    page.select_option("#filter-state", "done")
    page.select_option("#filter-state", "all")
    on_screen(page, first)
    assert page.is_checked("#defects input[value=holes]") and page.input_value("#note") == "left ear "
    assert "wait for a category" in page.inner_text("#mask-title") and not categories.exists()
    page.click("[data-category='3']")
    wait_for_rows(categories, {first: 3})
    assert (review := read_categories(categories, STEMS)[first]).defects == "holes" and review.note == "left ear"
    page.click("#undo")
    wait_for_rows(categories, {})
    on_screen(page, first)
    assert page.is_checked("#defects input[value=holes]"), "as it was before the decision"
    page.reload()
    on_screen(page, first)
    assert asked == ["beforeunload"] and not page.is_checked("#defects input[value=holes]")


def test_filters(page: Any, data: Path) -> None:
    page.select_option("#filter-defect", "spots")
    on_screen(page, "3")
    assert page.inner_text("#position") == "1 of 1"
    page.select_option("#filter-state", "done")
    assert page.is_visible("#empty")
    page.keyboard.press("1")  # nothing to decide about
    page.select_option("#filter-state", "all")
    page.select_option("#filter-defect", "")
    page.fill("#filter-quality", "0")
    page.keyboard.press("Tab")
    assert int(page.inner_text("#position").split(" of ")[1] or 0) < len(STEMS)


def test_two_tabs(page: Any, data: Path, categories: Path) -> None:
    first, second = worst_first(data)[:2]
    other = page.context.new_page()
    other.goto("/")
    on_screen(other, first)
    page.keyboard.press("1")
    on_screen(page, second)
    wait_for_rows(categories, {first: 1})
    other.keyboard.press("3")
    other.wait_for_selector("#message.bad")
    assert "changed elsewhere" in other.inner_text("#message")
    wait_for_rows(categories, {first: 1})
    on_screen(other, second)
    other.keyboard.press("2")
    wait_for_rows(categories, {first: 1, second: 2})


def test_a_mask_is_mended_by_brush(page: Any, data: Path, categories: Path) -> None:
    page.select_option("#filter-defect", "spots")
    on_screen(page, "3")
    page.keyboard.press("m")
    page.keyboard.press("x")  # cut away
    for _ in range(10):
        page.keyboard.press("]")
    box = page.locator("#canvas").bounding_box()
    scale = box["height"] / 320
    page.mouse.move(box["x"] + 8 * scale, box["y"] + 40 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 34 * scale, box["y"] + 40 * scale, steps=5)
    page.mouse.up()
    page.keyboard.press("Enter")
    wait_for_rows(categories, {"3": 2})
    mask = read_mask(mended_path(categories, "3"))
    truth = person(2)[1]
    assert not mask[28:52, 8:32].any(), "the spot is gone"
    np.testing.assert_array_equal(mask[60:], read_mask(data / "jpg/masks/3.jpg")[60:])
    assert (mask != truth).mean() < 0.001
    assert "mended by hand" in page.inner_text("#mask-title")


def drawn_mask(page: Any) -> Mask:
    """The mask as the page shows it in the view `mask`."""
    data = page.evaluate(
        """() => {
            const canvas = document.getElementById("canvas"), context = canvas.getContext("2d");
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            return [...data].filter((_, i) => i % 4 === 0);
        }"""
    )
    return np.array(data).reshape(320, 240) > 127


def test_the_automatic_repair_is_a_beginning_and_before_and_after_are_shown(
    page: Any, data: Path, categories: Path
) -> None:
    page.select_option("#filter-defect", "spots")
    on_screen(page, "3")
    page.keyboard.press("k")
    page.click("#tab-mend")
    given = read_mask(data / "jpg/masks/3.jpg")
    page.click("#auto")
    page.get_by_text("spots removed").wait_for()
    page.wait_for_timeout(200)
    assert not drawn_mask(page)[28:52, 8:32].any(), "after"
    page.keyboard.down("b")
    page.wait_for_timeout(200)
    np.testing.assert_array_equal(drawn_mask(page), given)
    page.keyboard.up("b")
    page.wait_for_timeout(200)
    assert not drawn_mask(page)[28:52, 8:32].any()
    page.keyboard.press("Control+z")
    page.wait_for_timeout(200)
    np.testing.assert_array_equal(drawn_mask(page), given)
    page.click("#auto")
    page.get_by_text("spots removed").wait_for()
    page.keyboard.press("Enter")
    wait_for_rows(categories, {"3": 2})
    assert not read_mask(mended_path(categories, "3"))[28:52, 8:32].any()


def test_the_page_keeps_saying_what_the_automatic_repair_did(page: Any) -> None:
    page.select_option("#filter-defect", "spots")
    on_screen(page, "3")
    page.click("#tab-mend")
    page.click("#auto")
    page.get_by_text("Automatic repair: spots removed (1,").wait_for()
    assert page.is_enabled("#mend-save")
    page.wait_for_timeout(3000)  # longer than a passing message stays
    assert page.is_hidden("#message") and page.is_visible("#repaired")
    page.click("#mend-undo")
    assert page.is_hidden("#repaired"), "it is undone"
    page.select_option("#filter-defect", "")
    page.fill("#filter-quality", "0")
    page.click("#fit")
    on_screen(page, "4")
    page.click("#auto")
    page.get_by_text("Automatic repair: nothing it can mend here").wait_for()
    assert page.is_disabled("#mend-save")


def test_only_a_changed_mask_can_be_saved(page: Any, categories: Path) -> None:
    page.select_option("#filter-defect", "spots")
    on_screen(page, "3")
    page.click("#tab-mend")
    box = page.locator("#canvas").bounding_box()
    scale = box["height"] / 320
    page.keyboard.press("x")  # cut away
    page.mouse.click(box["x"] + 100 * scale, box["y"] + 5 * scale)  # where nobody is
    page.keyboard.press("Enter")
    page.get_by_text("no pixel is changed").wait_for()
    assert page.is_disabled("#mend-save")
    page.mouse.click(box["x"] + 20 * scale, box["y"] + 40 * scale)  # in the spot
    page.wait_for_selector("#mend-save:enabled")
    page.click("#mend-undo")
    page.wait_for_selector("#mend-save:disabled")
    assert not mended_path(categories, "3").exists() and not categories.exists()


def test_views_and_zoom(page: Any) -> None:
    page.select_option("#filter-defect", "spots")
    on_screen(page, "3")
    seen = [page.evaluate("document.getElementById('canvas').toDataURL()")]
    for key in "cpkd":  # it opens with the overlay; none of the others looks like one before
        page.keyboard.press(key)
        page.wait_for_function("seen => !seen.includes(document.getElementById('canvas').toDataURL())", arg=seen)
        seen.append(page.evaluate("document.getElementById('canvas').toDataURL()"))
    fitted = page.inner_text("#zoom")
    page.keyboard.press("+")
    assert float(page.inner_text("#zoom").split()[0]) > float(fitted.split()[0])
    page.keyboard.press("0")
    assert page.inner_text("#zoom") == fitted


@pytest.mark.parametrize("width", [320, 390, 801])
def test_narrow_pages_do_not_overflow(width: int, page: Any) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    for tab in ("#tab-sort", "#tab-mend"):
        page.click(tab)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        rights = page.evaluate("[...document.querySelectorAll('button')].map(b => b.getBoundingClientRect().right)")
        assert max(rights) <= width


def test_the_next_mask_is_there_at_once(page: Any, data: Path) -> None:
    order = worst_first(data)
    page.wait_for_timeout(500)  # as a person looks at the first one
    took = []
    for stem in order[1:4]:
        took.append(
            page.evaluate(
                """stem => new Promise(done => {
                    const start = performance.now();
                    const watch = new MutationObserver(() => {
                        if (document.body.dataset.stem !== stem) return;
                        requestAnimationFrame(() => done(performance.now() - start));
                    });
                    watch.observe(document.body, { attributes: true });
                    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
                })""",
                stem,
            )
        )
        page.wait_for_timeout(200)
    print(json.dumps({"ms_to_next_mask": took}))
    assert np.median(took) < 150
