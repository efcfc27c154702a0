"""Masks over HTTP: answers, limits, refusals in one line; and a real server of two workers, one of which is killed."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from benchmarks import serving
from personseg import rle, serve
from personseg.errors import UserError
from personseg.segmenter import Segmenter
from personseg.serve import Settings, make_app
from tests.scale.model import model, write_photos

__all__ = ["model"]  # a fixture


@pytest.fixture(scope="module")
def settings(model: Path) -> Settings:
    return Settings(
        str(model), "pytorch_fp32", max_bytes=40_000, max_pixels=10_000, max_photos=3, max_batch_bytes=60_000
    )


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[TestClient]:
    with TestClient(make_app(settings)) as client:
        yield client


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photos(tmp_path, ["a.jpg"])[0]


def refusal(response) -> tuple[int, str]:  # type: ignore[no-untyped-def]
    assert list(response.json()) == ["error"] and "\n" not in response.json()["error"]
    return response.status_code, response.json()["error"]


def test_mask_and_code_are_those_of_the_model(client: TestClient, model: Path, photo: Path) -> None:
    segmenter = Segmenter.load(model, "pytorch_fp32", 1)
    mask, sha256 = segmenter.predict(photo).mask, segmenter.config.sha256
    answer = client.post("/mask", content=photo.read_bytes())
    assert answer.headers["content-type"] == "image/png" and answer.headers["x-model"] == sha256
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(shown, mask.astype(np.uint8) * 255)
    row = client.post("/mask?as=rle", content=photo.read_bytes()).json()
    expected = {"status": "done", "reason": None, "height": 90, "width": 67, "rle": rle.encode(mask), "model": sha256}
    assert row == expected
    files = [("photos", ("one.jpg", photo.read_bytes())), ("photos", ("bad.jpg", b"no photo"))]
    first, second = client.post("/batch", files=files).json()
    assert first == {"name": "one.jpg", **expected}
    assert second["name"] == "bad.jpg" and second["reason"] == "not a readable image" and second["rle"] is None
    assert client.get("/health").json() == {"status": "ok", "model": sha256, "runtime": "pytorch_fp32"}


def test_what_is_wrong_with_a_request_is_one_line(client: TestClient, photo: Path, tmp_path: Path) -> None:
    data = photo.read_bytes()
    assert refusal(client.post("/mask")) == (400, "nothing was sent; the body is the photo's file")
    assert refusal(client.post("/mask", content=b"no photo")) == (422, "not a readable image")
    assert refusal(client.post("/mask", content=data[: len(data) // 2])) == (422, "truncated or damaged image")
    assert refusal(client.post("/mask?as=jpg", content=data)) == (422, "as=jpg: choose png or rle")
    assert refusal(client.post("/batch", content=data))[0] == 400
    assert refusal(client.post("/batch", files={"other": data}))[0] == 400
    border = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refusal(client.post("/batch", content=b"--x\r\nno form", headers=border))[0] == 400
    assert refusal(client.post("/batch", files=[("photos", ("a.jpg", data[:99]))] * 4))[0] == 413
    assert refusal(client.post("/batch", files=[("photos", ("a.jpg", data[:99]))] * 5))[0] in (400, 413)
    assert refusal(client.get("/mask"))[0] == 405 and refusal(client.get("/docs"))[0] == 404


def test_too_many_bytes_are_not_read_and_too_many_pixels_not_decoded(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = write_photos(tmp_path, ["large.jpg"], 130)[0]

    def decode(*_: object) -> None:
        raise AssertionError("decoded")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "load", decode)
        assert refusal(client.post("/mask", content=large.read_bytes())) == (413, "12610 pixels are more than 10000")
    assert refusal(client.post("/mask", content=bytes(40_001)))[0] == 413
    assert refusal(client.post("/batch", files={"photos": ("a.jpg", bytes(40_001))}))[0] == 413
    assert refusal(client.post("/batch", content=bytes(60_001))) == (413, "more than 60000 bytes")
    taken = 0

    def endless() -> Iterator[bytes]:  # of no told length
        nonlocal taken
        for _ in range(1000):
            taken += 10_000
            yield bytes(10_000)

    assert refusal(client.post("/mask", content=endless()))[0] == 413
    border = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refusal(client.post("/batch", content=endless(), headers=border))[0] in (400, 413)


def test_when_too_many_wait_they_are_told_to_come_again(
    settings: Settings, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "WAITING", 1)
    entered, go_on = threading.Event(), threading.Event()
    find = serve.find_mask

    def slow(*arguments):  # type: ignore[no-untyped-def]
        entered.set()
        assert go_on.wait(60)
        return find(*arguments)

    monkeypatch.setattr(serve, "find_mask", slow)
    with TestClient(make_app(replace(settings))) as client:
        answers: list[int] = []

        def post() -> None:
            answers.append(client.post("/mask", content=photo.read_bytes()).status_code)

        threads = [threading.Thread(target=post) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert entered.wait(60)
        turn = client.app.state.turn  # type: ignore[attr-defined]
        until(lambda: turn.statistics().tasks_waiting == 1)
        answer = client.post("/mask", content=photo.read_bytes())
        assert refusal(answer)[0] == 503 and answer.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200  # asked while the network works
        go_on.set()
        for thread in threads:
            thread.join()
    assert answers == [200, 200]


def until(true, seconds: float = 120) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_faults_of_the_user_are_one_line(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--max-pixels 0"):
        Settings("x", max_pixels=0)
    for arguments, said in (
        (["--workers", "0"], "--workers 0"),
        (["--model", str(tmp_path)], "config.json: not found"),
    ):
        with pytest.raises(SystemExit) as caught:
            serve.main(arguments)
        error = capsys.readouterr().err
        assert caught.value.code == 1 and error.startswith("error: ") and said in error and error.count("\n") == 1


def test_two_workers_bear_load_and_a_dead_one_is_replaced(model: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", [f"{number}.jpg" for number in range(4)])
    options = ["--workers", "2", "--model", str(model), "--runtime", "pytorch_fp32"]
    with serving.server(*options) as (process, port, _):
        body = [("/mask", photos[0].read_bytes(), {})]
        found = serving.load(port, body, 4, 1.0)
        assert found and {status for *_, status in found} == {200}
        later = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        seconds = []
        for _ in range(40):
            start = time.perf_counter()
            later.request("GET", "/health")
            later.getresponse().read()
            seconds.append(time.perf_counter() - start)
        later.close()
        assert min(seconds[-20:]) < 0.03, "the body waits for the head to be confirmed, 40 ms"
        addresses = {each.laddr.ip for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"}
        assert addresses == {"127.0.0.1"}

        def workers() -> list[psutil.Process]:
            living = [child for child in psutil.Process(process.pid).children() if child.status() != "zombie"]
            return [child for child in living if "resource_tracker" not in " ".join(child.cmdline())]

        before = workers()
        assert len(before) == 2
        os.kill(before[0].pid, signal.SIGKILL)
        until(lambda: len(workers()) == 2 and before[0] not in workers())
        until(lambda: {status for *_, status in serving.load(port, body, 2, 0.2)} == {200})


def test_summary_counts_and_percentiles() -> None:
    found = [(0.0, 1.0, 200), (0.0, 3.0, 200), (1.0, 3.0, 200), (1.0, 0.1, 503), (1.0, 0.1, 0)]
    row = serving.summary(found, 2)
    assert row["requests"] == 5 and row["errors"] == 2 and row["p50_s"] == 3.0 and row["photos_per_s"] == 6 / 4
    with pytest.raises(UserError, match="no request was answered"):
        serving.summary([(0.0, 1.0, 503)], 1)
