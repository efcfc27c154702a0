"""The command `personseg`: masks and cutouts of photos and folders. Heavy imports wait until they are needed."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from personseg.errors import one_line_errors

app = typer.Typer(help="Cut people out of photos.", no_args_is_help=True, pretty_exceptions_enable=False)


class Output(StrEnum):
    """What `personseg predict` writes."""

    mask = "mask"
    cutout = "cutout"
    overlay = "overlay"
    rle = "rle"
    json = "json"


ModelOption = Annotated[Path, typer.Option("--model", "-m", help="Folder of the trained model.")]


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"personseg {version('personseg')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


@app.command()
def predict(
    inputs: Annotated[list[str], typer.Argument(help="Photos, videos, folders or patterns such as 'photos/*.jpg'.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the results, or a file's name: of one photo, or a .csv for rle."),
    ],
    kind: Annotated[Output, typer.Option("--as", help="What to write.")] = Output.mask,
    background: Annotated[
        str, typer.Option(help="Of a cutout: a colour (white, '#20a0ff'), a picture's path, or blur.")
    ] = "",
    matting: Annotated[bool, typer.Option("--matting", help="Soft alpha and clean colours along hair.")] = False,
    runtime: Annotated[str, typer.Option(help="Backend, or auto: the quickest here but for int8.")] = "auto",
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Instead of the model's own.")] = None,
    zoom: Annotated[bool, typer.Option(help="Look a second time, closer, at people small in the frame.")] = True,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Folders with all below them.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do photos again that are done already.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the network; default: all.")] = None,
    model: ModelOption = Path("models/person"),
) -> None:
    """Write a mask, cutout, overlay, run-length code or JSON for every photo or video; what is done is skipped.

    A photo that cannot be read is named and the others go on; the exit code is then 1.
    """
    from personseg.batch import run_job
    from personseg.writers import Job

    job = Job(
        inputs=inputs,
        out=out,
        kind=kind.value,
        background=background,
        matting=matting,
        threshold=threshold,
        zoom=zoom,
        recursive=recursive,
        overwrite=overwrite,
    )
    sys.exit(run_job(job, model, runtime, threads))


@app.command()
def demo(
    model: ModelOption = Path("models/person"),
    host: Annotated[str, typer.Option(help="Address to listen on; default: this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 7860,
) -> None:
    """Open a page to try the model: drop a photo, see mask, cutout and other backgrounds."""
    from personseg.demo import serve

    serve(model, host, port)


@app.command()
def info(model: Annotated[Path, typer.Argument(help="Folder of the trained model.")] = Path("models/person")) -> None:
    """Say what a model is, whether it is whole, and which runtimes can run it here."""
    from personseg.batch import describe_model

    typer.echo(describe_model(model))


def main() -> None:
    """Run the command; a user's error is one line and exit code 1."""
    with one_line_errors():
        app()
