"""What `personseg.serve` bears: clients that post photos one after the other, for some seconds.

    python -m benchmarks.serving PHOTOS [--clients 8] [--seconds 20] [--workers N] [--batch 8] [--runtime auto]
        [--model models/person] [--out results/serving.json]

The server is started on a free port of this machine, and each client has one connection that it keeps. Latency goes
from the request's first byte to the answer's last, waiting included; the clients share the cores with the server. First
every client posts single photos to /mask, then batches to /batch. Memory is the peak of all server processes together,
what they share counted once. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process_tree import watched
from personseg.environment import cpu_model, usable_cores
from personseg.errors import UserError, one_line_errors
from personseg.files import write_json
from personseg.inputs import find_photos

HOST = "127.0.0.1"
Answer = tuple[float, float, int]  # start and latency in seconds, status
READY = 300  # seconds a server may take to start
PATIENCE = 60  # seconds for one answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], int, float]]:
    """A server of `personseg.serve` with these options; its process, port, and seconds to its first answer."""
    port, start = free_port(), time.perf_counter()
    command = [sys.executable, "-m", "personseg.serve", "--host", HOST, "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not healthy(port):
            if process.poll() is not None or time.perf_counter() - start > READY:
                raise UserError(f"{' '.join(command[1:])}: did not start")
            time.sleep(0.1)
        yield process, port, time.perf_counter() - start
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def batch_body(photos: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """A form with files, and its header."""
    border = uuid.uuid4().hex
    parts = []
    for number, photo in enumerate(photos):
        head = f'--{border}\r\nContent-Disposition: form-data; name="photos"; filename="{number}.jpg"\r\n\r\n'
        parts += [head.encode(), photo, b"\r\n"]
    return b"".join([*parts, f"--{border}--\r\n".encode()]), {"Content-Type": f"multipart/form-data; boundary={border}"}


def load(
    port: int, requests: Sequence[tuple[str, bytes, dict[str, str]]], clients: int, seconds: float
) -> list[Answer]:
    """Let clients post for some seconds; (start, latency in seconds, status) of each request, status 0: no answer."""
    end = time.perf_counter() + seconds
    found: list[Answer] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
        for path, body, headers in itertools.islice(itertools.cycle(requests), number, None):
            start = time.perf_counter()
            if start >= end:
                break
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                connection.close()
                status = 0
            found.append((start, time.perf_counter() - start, status))
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def summary(found: Sequence[Answer], photos_each: int) -> dict[str, Any]:
    """Percentiles of latency, photos a second, and how many requests were not answered with 200."""
    good = [(start, latency) for start, latency, status in found if status == 200]
    if not good:
        raise UserError("no request was answered; see what the server says when started by itself")
    first, last = min(start for start, *_ in found), max(start + latency for start, latency, _ in found)
    latencies = np.array([latency for _, latency in good])
    p50, p95, p99 = (float(value) for value in np.percentile(latencies, (50, 95, 99)))
    return {
        "requests": len(found),
        "photos_a_request": photos_each,
        "errors": len(found) - len(good),
        "p50_s": p50,
        "p95_s": p95,
        "p99_s": p99,
        "photos_per_s": len(good) * photos_each / (last - first),
    }


def measure(
    photos: Sequence[Path], clients: int, seconds: float, workers: int, batch: int, runtime: str, model: str
) -> Any:
    """All figures."""
    bodies = [photo.read_bytes() for photo in photos]
    single = [("/mask", body, {"Content-Type": "application/octet-stream"}) for body in bodies]
    several = []
    for at in range(0, len(bodies), batch):
        chosen = [bodies[(at + step) % len(bodies)] for step in range(batch)]
        several.append(("/batch", *batch_body(chosen)))
    with (
        server("--workers", str(workers), "--model", model, "--runtime", runtime) as (process, port, ready),
        watched(process.pid) as memory,
    ):
        load(port, single, clients, min(2.0, seconds))  # warms every worker
        alone = summary(load(port, single, 1, min(5.0, seconds)), 1)
        ones = summary(load(port, single, clients, seconds), 1)
        batches = summary(load(port, several, clients, seconds), batch)
    return {
        "clients": clients,
        "seconds": seconds,
        "workers": workers,
        "photos": len(photos),
        "mean_photo_bytes": sum(map(len, bodies)) / len(bodies),
        "ready_s": ready,
        "one_client": alone,
        "mask": ones,
        "batch": batches,
        "peak_bytes": memory.peak_bytes,
        "runtime": runtime,
        "cores": usable_cores(),
        "cpu": cpu_model(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--limit", type=int, default=64, help="take the first N photos only (default 64)")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--workers", type=int, default=usable_cores())
    parser.add_argument("--batch", type=int, default=8, help="photos of a batch")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--model", default="models/person")
    parser.add_argument("--out", type=Path, default=Path("results/serving.json"))
    given = parser.parse_args()
    with one_line_errors():
        photos = [item.path for item in find_photos([str(given.photos)], False) if not item.is_video][: given.limit]
        if not photos:
            raise UserError(f"{given.photos}: no photos in it")
        found = measure(photos, given.clients, given.seconds, given.workers, given.batch, given.runtime, given.model)
        write_json(given.out, found)
    for name in ("one_client", "mask", "batch"):
        row = found[name]
        print(
            f"{name:11} {row['photos_per_s']:.1f} photos/s, p50 {1e3 * row['p50_s']:.0f} ms,"
            f" p95 {1e3 * row['p95_s']:.0f} ms, {row['errors']} of {row['requests']} requests failed"
        )
    print(f"ready after {found['ready_s']:.1f} s, {found['peak_bytes'] / 1e6:.0f} MB at most")


if __name__ == "__main__":
    main()
