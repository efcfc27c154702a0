"""Many users at once on the demo page: answers, refusals, errors, waiting times and the server's memory.

    python -m benchmarks.demo_load [--clients 64] [--seconds 180] [--model models/person] [--out results/demo_load.json]

`personseg demo` is started as a process. Each client does over HTTP what the page does in a browser: it uploads
a photo, has it cut out, has the downloads made and fetches one. Its photo has a size that no other client's has, so
that an answer meant for somebody else is seen. A client that is told that the page is busy comes again a second later.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil

from personseg.environment import cpu_model, usable_cores
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json
from personseg.sample.photo import draw_pair

SIZES = ((320, 240), (640, 480), (1280, 960), (2560, 1920))  # width and height; client n adds n to both
BUSY_PAUSE_S = 1.0
TIMEOUT_S = 300.0  # of one request: longer than any queue is
START_S = 300.0
WATCH_S = 0.25


class Refused(Exception):
    """The page said that it is busy."""


@dataclass
class Tally:
    """What came back."""

    seconds: list[float] = field(default_factory=list)  # upload to result, of each photo that was cut out
    downloads: int = 0
    busy: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Memory(threading.Thread):
    """Watches the resident memory of the server with all below it: (seconds since the start, bytes)."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.process, self.begun, self.seen = psutil.Process(pid), time.monotonic(), list[tuple[float, int]]()
        self.start()

    def run(self) -> None:
        while True:
            try:
                members = [self.process, *self.process.children(recursive=True)]
                self.seen.append((time.monotonic() - self.begun, sum(member.memory_info().rss for member in members)))
            except psutil.Error:
                return
            time.sleep(WATCH_S)

    def peak(self, start: float = 0, end: float = float("inf")) -> int:
        """The largest sum between two seconds."""
        return max((amount for at, amount in self.seen if start <= at <= end), default=0)


@contextmanager
def server(model: Path) -> Iterator[tuple[str, int]]:
    """`personseg demo` on a free port: its address and process id."""
    command = [sys.executable, "-m", "personseg", "demo", "--model", str(model), "--port", "0"]
    told = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=told) as process:
        assert process.stdout is not None
        said: list[str] = []
        try:
            for line in process.stdout:
                said.append(line)
                if " http" in line:
                    break
            else:
                raise UserError(f"the demo did not start: {said[-1].strip() if said else 'it said nothing'}")
            # Read on: a full pipe would stop the server.
            threading.Thread(target=lambda: said.extend(process.stdout or ()), daemon=True).start()
            yield f"http{line.split(' http')[1].split()[0]}".rstrip("/"), process.pid
        finally:
            process.terminate()
        if any("Traceback" in line for line in said):
            print("".join(said)[-3000:], file=sys.stderr)


def photo(number: int) -> tuple[bytes, str]:
    """The JPEG of client `number` and its size as the page tells it."""
    width, height = (side + number for side in SIZES[number % len(SIZES)])
    image = draw_pair(np.random.default_rng(number), (480, 360))[0]
    done, data = cv2.imencode(".jpg", cv2.resize(image[..., ::-1], (width, height), interpolation=cv2.INTER_LINEAR))
    assert done
    return data.tobytes(), f"{width} x {height} px"


def steps(config: dict[str, Any]) -> tuple[int, int, list[Any]]:
    """The page's steps after a new photo, cutting out and making the downloads, and what it sends beside the photo."""
    components = {part["id"]: part for part in config["components"]}
    found = {len(step["outputs"]): step for step in reversed(config["dependencies"]) if len(step["inputs"]) == 6}
    values = [components[part]["props"].get("value") for part in found[4]["inputs"][1:]]
    return found[4]["id"], found[2]["id"], values


async def ask(client: httpx.AsyncClient, step: int, values: list[Any], session: str) -> list[Any]:
    """Queue one step and wait for what it gives; Refused when the queue is full, ValueError for an error told."""
    body = {"data": values, "fn_index": step, "session_hash": session, "event_data": None, "trigger_id": None}
    joined = await client.post("/gradio_api/queue/join", json=body)
    if joined.status_code == 503 and "Queue is full" in joined.text:
        raise Refused
    joined.raise_for_status()
    answer = None
    async with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        async for line in stream.aiter_lines():
            message = json.loads(line[5:]) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                answer = message
    if answer is None:
        raise ValueError("the stream ended without an answer")
    if not answer["success"]:
        raise ValueError(f"the page said: {answer['output'].get('error')}")
    return list(answer["output"]["data"])


async def user(number: int, address: str, page: tuple[int, int, list[Any]], end: float, tally: Tally) -> None:
    """One client, again and again until the clock is at `end`, once at least."""
    data, size = photo(number)
    cut_out, files, wish = page
    turn = 0
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S) as client:
        while not turn or time.monotonic() < end:
            turn += 1
            session = f"client{number}turn{turn}"
            start = time.monotonic()
            try:
                sent = await client.post(
                    "/gradio_api/upload", files={"files": (f"photo{number}.jpg", data, "image/jpeg")}
                )
                sent.raise_for_status()
                mine = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
                line = (await ask(client, cut_out, [mine, *wish], session))[3]
                if not str(line).startswith(size):
                    raise ValueError(f"asked for a photo of {size}, got one of {str(line)[:20]}")
                tally.seconds.append(time.monotonic() - start)
                made = (await ask(client, files, [mine, *wish], session))[0]
                fetched = await client.get(made["value"]["url"])
                fetched.raise_for_status()
                width, height = (int.from_bytes(fetched.content[at : at + 4]) for at in (16, 20))  # of a PNG's head
                if f"{width} x {height} px" != size:
                    raise ValueError(f"the download of a photo of {size} has {width} x {height} px")
                tally.downloads += 1
            except Refused:
                tally.busy += 1
                await asyncio.sleep(BUSY_PAUSE_S)
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                tally.errors[f"{type(error).__name__}: {error}"[:200]] += 1


async def crowd(address: str, clients: int, seconds: float) -> Tally:
    """All clients at once, for `seconds`; who waits for an answer then still gets it."""
    tally = Tally()
    async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S) as client:
        page = steps((await client.get("/config")).json())
    end = time.monotonic() + seconds
    await asyncio.gather(*(user(number, address, page, end, tally) for number in range(clients)))
    return tally


def measure(model: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Start the server, drive it, end it: the figures."""
    others = os.getloadavg()[0]
    with server(model) as (address, pid):
        asyncio.run(crowd(address, 1, 0.1))  # what is loaded on first use
        memory = Memory(pid)
        tally = asyncio.run(crowd(address, clients, seconds))
        lasted = time.monotonic() - memory.begun
    return {
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "load_before": round(others, 1),
        "clients": clients,
        "seconds": round(lasted, 1),
        "photos": len(tally.seconds),
        "photos_per_s": round(len(tally.seconds) / lasted, 2),
        "downloads": tally.downloads,
        "busy": tally.busy,
        "errors": dict(tally.errors),
        "p50_s": round(float(np.percentile(tally.seconds, 50)), 3) if tally.seconds else None,
        "p95_s": round(float(np.percentile(tally.seconds, 95)), 3) if tally.seconds else None,
        "max_s": round(max(tally.seconds), 3) if tally.seconds else None,
        "idle_bytes": memory.seen[0][1] if memory.seen else 0,
        "peak_bytes": memory.peak(),
        "peak_bytes_by_third": [memory.peak(lasted * third / 3, lasted * (third + 1) / 3) for third in range(3)],
    }


def told(figures: dict[str, Any]) -> str:
    """The sentence of docs/reliability.md that tells these figures."""
    peaks = ", ".join(f"{peak / 1e9:.2f}" for peak in figures["peak_bytes_by_third"])
    return (
        f"{figures['photos']} photos cut out, {figures['busy']} times 'busy', {sum(figures['errors'].values())} errors;"
        f" {figures['p50_s']:.1f} s to a result at the median, {figures['p95_s']:.1f} s at the 95th percentile; the"
        f" server's memory, {figures['idle_bytes'] / 1e9:.2f} GB at first, peaked at {peaks} GB in the thirds of that"
        " time."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--model", type=Path, default=Path("models/person"))
    parser.add_argument("--out", type=Path, default=Path("results/demo_load.json"))
    arguments = parser.parse_args()
    with one_line_errors():
        figures = measure(arguments.model, arguments.clients, arguments.seconds)
        write_json(arguments.out, figures)
    print(json.dumps(figures, indent=2))
    sys.exit(1 if figures["errors"] or not figures["photos"] else 0)


if __name__ == "__main__":
    main()
