"""folds: what a small model that never saw a photo's mask thinks of the photo."""

from pathlib import Path

from personseg.folds import out_of_fold
from personseg.resume import fingerprint, resume_folder
from stages.common import Params, run

JPG = Path("data/jpg")


def main(params: Params) -> None:
    section = params.folds.model_dump()
    with resume_folder(Path(".resume/folds"), fingerprint(section, [JPG / "manifest.csv"])) as state:
        out_of_fold(JPG, Path("data/folds"), section, state)


if __name__ == "__main__":
    run(main)
