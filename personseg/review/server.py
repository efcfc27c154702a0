"""The review page's server; `make review` starts it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from personseg.audit import AuditLimits, Case, blank, inspect, read_case
from personseg.errors import UserError
from personseg.files import read_table
from personseg.images import Mask, read_image, read_mask
from personseg.repair import mend
from personseg.review.store import Conflict, ReviewStore
from personseg.sheets import defect_areas

PAGE = Path(__file__).parent / "page"
LOOPBACK = ["127.0.0.1", "localhost", "[::1]"]
MAX_UPLOAD = 30_000_000  # bytes of a mended mask

Category = Annotated[int, Field(ge=1, le=3)]


class Row(BaseModel):
    """A row of the reviewed file, without its stem."""

    model_config = ConfigDict(extra="forbid")
    category: Category
    defects: Annotated[str, Field(max_length=500, pattern=r"^[a-z_;]*$")] = ""
    reviewer: Annotated[str, Field(max_length=100)] = ""
    note: Annotated[str, Field(max_length=2000)] = ""


class Change(BaseModel):
    """A row's new state and the one the page has seen; None: no row."""

    model_config = ConfigDict(extra="forbid")
    row: Row | None
    expected: Row | None


def _png(pixels: np.ndarray) -> Response:
    return Response(cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes(), media_type="image/png")


def _mask_png(mask: Mask) -> Response:
    return _png(mask.astype(np.uint8) * 255)


def make_app(
    jpg: Path, folds: Path, scores_csv: Path, categories: Path, limits: AuditLimits, hosts: list[str] | None = None
) -> FastAPI:
    """Build the application. `hosts`: names under which it may be reached; default: this machine's own alone."""
    scores = read_table(scores_csv)
    known = set(scores["stem"])
    store = ReviewStore(categories, known)
    store.read()  # a faulty file is told of at once
    measures = [name for name in scores.columns if name not in ("stem", "reasons", "suggested", "quality")]
    # No documentation pages: FastAPI's come from elsewhere.
    app = FastAPI(title="personseg review", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts or LOOPBACK)

    @app.middleware("http")
    async def own_pages_only(request: Request, call_next: Callable[..., Any]) -> Response:
        # A form or script of another page cannot send this header without being asked for leave first.
        if request.method not in ("GET", "HEAD") and "x-personseg" not in request.headers:
            return JSONResponse({"detail": "not from the review page"}, status_code=403)
        if "transfer-encoding" in request.headers:  # a body of no stated length would be read into memory
            return JSONResponse({"detail": "say the length of what is sent"}, status_code=411)
        if int(request.headers.get("content-length") or 0) > MAX_UPLOAD:
            return JSONResponse({"detail": "too large"}, status_code=413)
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = "default-src 'self'; img-src 'self' blob: data:"
        return response

    def checked(stem: str) -> str:
        if stem not in known:
            raise HTTPException(404, f"no mask has the stem {stem!r}")
        return stem

    def current_mask(stem: str) -> Mask:
        mended = store.mended_path(stem)
        return read_mask(mended if mended.is_file() else jpg / "masks" / f"{stem}.jpg")

    def case_of(stem: str) -> Case:
        case = read_case(jpg, folds, stem)
        return Case(case.image, current_mask(stem), case.expected)

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=409)

    @app.exception_handler(OSError)
    async def disk_error(request: Request, error: OSError) -> JSONResponse:
        return JSONResponse({"detail": f"not saved: {error.strerror or error}"}, status_code=507)

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(PAGE / "review.html")

    @app.get("/page/{name}")
    def asset(name: str) -> FileResponse:
        if name not in ("review.css", "review.js"):
            raise HTTPException(404)
        return FileResponse(PAGE / name)

    @app.get("/api/masks")
    def masks() -> dict[str, Any]:
        rows = store.read()
        listed = []
        for record in scores.sort_values("quality", kind="stable").to_dict("records"):
            stem = str(record["stem"])
            listed.append(
                {
                    "stem": stem,
                    "quality": float(record["quality"]),
                    "suggested": int(record["suggested"]),
                    "reasons": record["reasons"] if isinstance(record["reasons"], str) else "",
                    "measures": {name: float(record[name]) for name in measures},
                    "row": rows.get(stem),
                    "mended": store.mended_path(stem).is_file(),
                }
            )
        return {"name": categories.stem, "file": str(categories), "masks": listed}

    @app.get("/api/photo")
    def photo(stem: str) -> FileResponse:
        return FileResponse(jpg / "images" / f"{checked(stem)}.jpg", headers={"Cache-Control": "max-age=3600"})

    @app.get("/api/mask")
    def mask(stem: str, original: bool = False) -> Response:
        checked(stem)
        return _mask_png(read_mask(jpg / "masks" / f"{stem}.jpg") if original else current_mask(stem))

    @app.get("/api/defects")
    def marked(stem: str) -> Response:
        case = case_of(checked(stem))
        canvas = np.zeros((*case.mask.shape, 4), np.uint8)
        for colour, area in defect_areas(inspect(case, limits)).values():
            canvas[area] = (*colour[::-1], 150)
        return _png(canvas)

    @app.get("/api/repair")
    def repaired(stem: str) -> Response:
        # What `filter` would undo is still a beginning for the brush.
        case = case_of(checked(stem))
        found = inspect(case, limits)
        mended, steps = case.mask, list[str]()
        if not blank(found, limits):
            mended, steps = mend(case, found.spots, found.holes, found.gap)
        response = _mask_png(mended)
        response.headers["X-Steps"] = "; ".join(steps)
        return response

    @app.put("/api/review")
    def save(stem: str, change: Annotated[Change, Body()]) -> JSONResponse:
        checked(stem)
        row = change.row.model_dump() if change.row else None
        expected = change.expected.model_dump() if change.expected else None
        try:
            store.save(stem, row, expected)
        except Conflict as conflict:
            return JSONResponse({"detail": "changed elsewhere", "current": conflict.current}, status_code=412)
        return JSONResponse({"row": row})

    @app.put("/api/mended")
    async def save_mended(stem: str, request: Request) -> JSONResponse:
        shape = read_image(jpg / "images" / f"{checked(stem)}.jpg").shape[:2]
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > MAX_UPLOAD:
                raise HTTPException(413, "too large")
        try:
            image = Image.open(io.BytesIO(data), formats=["PNG"])
            if image.size != shape[::-1]:
                raise HTTPException(422, f"the mask is {image.size[0]}x{image.size[1]}, the photo is not")
            sent = np.asarray(image.convert("L")) > 127
        except HTTPException:
            raise
        except Exception:  # Pillow has many words for damage
            raise HTTPException(422, "not a PNG that can be read") from None
        if np.array_equal(sent, read_mask(jpg / "masks" / f"{stem}.jpg")):  # it would only take the repair's place
            raise HTTPException(400, "not saved: no pixel differs from the mask as it came")
        store.save_mended(stem, sent)
        return JSONResponse({"mended": True})

    @app.delete("/api/mended")
    def drop_mended(stem: str) -> JSONResponse:
        store.save_mended(checked(stem), None)
        return JSONResponse({"mended": False})

    return app


def serve(app: FastAPI, host: str, port: int) -> None:
    """Run the application until it is interrupted."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, log_level="warning")
