"""Masks over HTTP: one photo or several in a request, by as many worker processes as are asked for.

    python -m personseg.serve [--model models/person] [--host 127.0.0.1] [--port 8000] [--workers 2]

    curl --data-binary @photo.jpg http://127.0.0.1:8000/mask -o mask.png
    curl --data-binary @photo.jpg 'http://127.0.0.1:8000/mask?as=rle'
    curl -F photos=@one.jpg -F photos=@two.jpg http://127.0.0.1:8000/batch
    curl http://127.0.0.1:8000/health

What is wrong with a request is one line, {"error": "..."}: 400 nothing sent, 413 too many bytes, pixels or photos, 422
no photo that can be read, 503 too many wait. A bad photo of a batch has the reason in its row. The worker processes
share the port; one that dies is replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import cv2
import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from personseg import rle
from personseg.environment import usable_cores
from personseg.errors import UserError, one_line_errors
from personseg.images import Mask
from personseg.model_config import check_weights, read_config
from personseg.rows import DONE, TooLarge, find_mask, photo_row
from personseg.segmenter import MAX_PIXELS, Segmenter
from personseg.table_model import model_folder

T = TypeVar("T")
SETTINGS = "PERSONSEG_SERVE"  # environment variable by which the worker processes are told theirs, as JSON
WAITING = 32  # requests of a worker that may wait for the network; those after them are told to come again
HUNG = 60  # seconds without a sign of life after which a worker is replaced; a busy machine makes one slow to start
GRACE = 30  # seconds that requests under way get when the server is stopped


@dataclass(frozen=True)
class Settings:
    """What a worker serves. Limits are of one request; `threads` are the network's, of one worker."""

    model: str
    runtime: str = "auto"
    threads: int = 1
    max_bytes: int = 30_000_000  # of a photo
    max_pixels: int = 50_000_000  # of a photo
    max_photos: int = 16  # of a batch
    max_batch_bytes: int = 100_000_000

    def __post_init__(self) -> None:
        if not 0 < self.max_pixels <= MAX_PIXELS:
            raise UserError(f"--max-pixels {self.max_pixels}: give 1 to {MAX_PIXELS}")


class BodyLimit:
    """Ends a request whose body is longer than `most` bytes: before any is read where its length is told, else midway.

    Around the whole application, so that no parser sees more than that.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.most:
                raise HTTPException(413, f"more than {self.most} bytes")
            return message

        if scope["type"] == "http":
            told = dict(scope["headers"]).get(b"content-length", b"0")
            if told.isdigit() and int(told) > self.most:
                refusal = JSONResponse({"error": f"more than {self.most} bytes"}, 413, {"Connection": "close"})
                return await refusal(scope, receive, send)
        await self.app(scope, counted, send)


async def save_body(request: Request, most: int, file: Any) -> None:
    """Write the body to `file` as it comes; HTTPException if it is empty or longer than `most` bytes."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise HTTPException(413, f"a photo may have {most} bytes, this one has more")
        file.write(chunk)
    if size == 0:
        raise HTTPException(400, "nothing was sent; the body is the photo's file")
    file.flush()


def png(mask: Mask) -> bytes:
    """A mask as PNG, 0 and 255 in one channel."""
    return cv2.imencode(".png", mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def make_app(settings: Settings) -> FastAPI:
    """Build the application of one worker; the model is loaded when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.segmenter = Segmenter.load(settings.model, settings.runtime, settings.threads)
        app.state.turn = anyio.CapacityLimiter(1)  # the network is one thread's at a time; decoding and all with it
        yield

    # No documentation pages: FastAPI's come from elsewhere.
    app = FastAPI(title="personseg", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(BodyLimit, most=max(settings.max_bytes, settings.max_batch_bytes))

    async def in_turn(work: Callable[..., T], *arguments: Any) -> T:
        if app.state.turn.statistics().tasks_waiting >= WAITING:
            raise HTTPException(503, "too many requests wait; try again", {"Retry-After": "1"})
        return await anyio.to_thread.run_sync(work, *arguments, limiter=app.state.turn)

    def answer(photo: Path, kind: str) -> Response:
        segmenter: Segmenter = app.state.segmenter
        mask, model = find_mask(segmenter, photo, settings.max_pixels), segmenter.config.sha256
        if kind == "png":
            return Response(png(mask), media_type="image/png", headers={"X-Model": model})
        row = {"status": DONE, "reason": None, "height": mask.shape[0], "width": mask.shape[1]}
        return JSONResponse(row | {"rle": rle.encode(mask), "model": model})

    def refuse(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": " ".join(text.split())}, status, headers)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return refuse(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return refuse(422, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")

    @app.exception_handler(UserError)
    async def unreadable(request: Request, error: UserError) -> JSONResponse:
        return refuse(413 if isinstance(error, TooLarge) else 422, str(error))

    @app.exception_handler(MemoryError)
    async def full(request: Request, error: MemoryError) -> JSONResponse:
        return refuse(503, "not enough memory for this photo now")

    @app.get("/health")
    async def health() -> dict[str, str]:
        segmenter: Segmenter = app.state.segmenter
        return {"status": "ok", "model": segmenter.config.sha256, "runtime": segmenter.runtime_name}

    @app.post("/mask")
    async def one(request: Request) -> Response:
        kind = request.query_params.get("as", "png")
        if kind not in ("png", "rle"):
            raise HTTPException(422, f"as={kind}: choose png or rle")
        with tempfile.NamedTemporaryFile(prefix="personseg-") as photo:
            await save_body(request, settings.max_bytes, photo)
            return await in_turn(answer, Path(photo.name), kind)

    @app.post("/batch")
    async def several(request: Request) -> list[dict[str, Any]]:
        async with request.form(max_files=settings.max_photos + 1, max_fields=0) as form:
            sent = [(part.filename or "", part) for part in form.getlist("photos") if isinstance(part, UploadFile)]
            if not sent:
                raise HTTPException(400, "no photos were sent; send files in the form field `photos`")
            if len(sent) > settings.max_photos:
                raise HTTPException(413, f"more than {settings.max_photos} photos; send fewer at a time")
            rows = []
            for name, part in sent:
                if (part.size or 0) > settings.max_bytes:
                    raise HTTPException(413, f"{name}: a photo may have {settings.max_bytes} bytes, this one has more")
                row = await in_turn(photo_row, app.state.segmenter, await part.read(), settings.max_pixels)
                rows.append({"name": name, **row})
            return rows

    return app


def worker() -> FastAPI:
    """The application of a worker process; `main` has left the settings in the environment."""
    return make_app(Settings(**json.loads(os.environ[SETTINGS])))


def main(arguments: Sequence[str] | None = None) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="models/person", help="folder of the model, or models:/NAME@best of MLflow")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine alone")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes; default: one for every core")
    parser.add_argument("--runtime", default="auto", help="backend, or auto: the quickest here but for int8")
    parser.add_argument("--max-bytes", type=int, default=Settings.max_bytes, help="of a photo's file")
    parser.add_argument("--max-pixels", type=int, default=Settings.max_pixels, help="of a photo")
    parser.add_argument("--max-photos", type=int, default=Settings.max_photos, help="of a batch")
    given = parser.parse_args(arguments)
    with one_line_errors(), tempfile.TemporaryDirectory(prefix="personseg-") as place:
        if given.workers < 1:
            raise UserError(f"--workers {given.workers}: give 1 or more")
        folder = model_folder(given.model, Path(place))
        check_weights(folder, read_config(folder))  # here: a worker that cannot start would be started again and again
        settings = Settings(
            model=str(folder.absolute()),
            runtime=given.runtime,
            threads=max(1, usable_cores() // given.workers),
            max_bytes=given.max_bytes,
            max_pixels=given.max_pixels,
            max_photos=given.max_photos,
        )
        os.environ[SETTINGS] = json.dumps(asdict(settings))
        config = uvicorn.Config(
            "personseg.serve:worker",
            factory=True,
            host=given.host,
            port=given.port,
            workers=given.workers,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
            timeout_worker_healthcheck=HUNG,
        )
        listening = config.bind_socket()
        # Connections take this over. Without it a client who is slow to confirm the answer's head gets the body 40 ms
        # later; asyncio would set it, but not where uvicorn made the socket (Python 3.11, uvicorn 0.54).
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        Multiprocess(config, sockets=[listening]).run()


if __name__ == "__main__":
    main()
