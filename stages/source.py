"""source: note what lies outside the project, so that a change of it, and only that, has effects."""

from personseg.files import write_json
from personseg.model_config import describe_weights
from personseg.sources import describe_source, resolve
from personseg.taught import SELF, describe_teacher
from stages.common import Params, network_params, run, teacher_train_params


def main(params: Params) -> None:
    description = describe_source(resolve(params.data.source), params.data.sha256)
    write_json("data/source.json", description)
    teacher, mediapipe = params.teacher.model, params.teacher.mediapipe
    place = teacher if teacher in (None, SELF) else resolve(teacher)
    mediapipe = mediapipe and str(resolve(mediapipe))
    weights = describe_weights(network_params(params))
    training = {"network": params.model.model_dump(), "weights": weights, "train": teacher_train_params(params)}
    write_json("data/teacher.json", describe_teacher(place, mediapipe, training))
    write_json("data/weights.json", weights)


if __name__ == "__main__":
    run(main)
