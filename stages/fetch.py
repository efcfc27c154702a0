"""fetch: bring photos and masks, as supplied, into data/raw."""

from pathlib import Path

from personseg.files import fresh_folder
from personseg.sources import SAMPLE, fetch, resolve
from stages.common import Params, run

OUT = Path("data/raw")


def main(params: Params) -> None:
    if params.data.source == SAMPLE:
        from personseg.sample.generate import generate

        with fresh_folder(OUT) as folder:
            generate(folder, params.sample.count, params.sample.seed, params.sample.defect_fraction)
    else:
        fetch(resolve(params.data.source), params.data.sha256, OUT, Path(".downloads"))


if __name__ == "__main__":
    run(main)
