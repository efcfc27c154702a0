"""convert: check every pair and write it as JPEG, masks without losing a pixel."""

from pathlib import Path

from personseg.convert import convert
from stages.common import Params, run


def main(params: Params) -> None:
    section = params.convert
    convert(
        Path("data/raw"),
        Path("data/jpg"),
        section.jpeg_quality,
        round(section.max_megapixels * 1e6),
        section.max_reject_fraction,
        section.workers,
    )


if __name__ == "__main__":
    run(main)
