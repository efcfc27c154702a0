"""teach: a teacher's soft masks for the training, if params name one: a finished model, or one trained here."""

from pathlib import Path

from personseg.mediapipe import MediaPipe
from personseg.resume import fingerprint, resume_folder
from personseg.sources import resolve
from personseg.splits import read_split
from personseg.taught import SELF
from personseg.teaching import photos_without_masks, teach
from stages.common import Params, network_params, run, teacher_train_params

CLEAN, SPLITS, JPG, UNLABELLED = Path("data/clean"), Path("data/splits"), Path("data/jpg"), Path("data/raw/unlabelled")


def main(params: Params) -> None:
    section, stems = params.teacher, read_split(SPLITS)
    mark = fingerprint([], [CLEAN / "manifest.csv", *sorted(SPLITS.glob("*.csv")), Path("data/teacher.json")])
    with resume_folder(Path(".resume/teach"), mark) as state:
        teacher = None
        if section.model == SELF:
            from personseg.training import train_model  # Lightning takes seconds

            train = teacher_train_params(params)
            network, config, _, _ = train_model(network_params(params), train, CLEAN, stems, state)
            teacher = network, config
        elif section.model is not None:
            from personseg.model import load_model

            network, config = load_model(resolve(section.model))
            teacher = network, config
        teach(
            teacher,
            stems,
            CLEAN,
            photos_without_masks(UNLABELLED, JPG, CLEAN / "manifest.csv"),
            Path("data/taught"),
            params.convert.jpeg_quality,
            round(params.convert.max_megapixels * 1e6),
            params.split.hash_distance,
            section.workers,
            MediaPipe(Path(resolve(section.mediapipe))) if section.mediapipe else None,
            section.mediapipe_share,
        )


if __name__ == "__main__":
    run(main)
