"""train: the network of section model, trained as section train says, with the best weights by val IoU."""

from pathlib import Path

from personseg.files import write_json, write_table
from personseg.model import build_model, save_model
from personseg.model_config import ModelConfig
from personseg.resume import fingerprint, resume_folder
from personseg.splits import read_split
from personseg.taught import read_taught
from personseg.training import seed_everything, train_network
from personseg.weights import normalisation
from stages.common import Params, run

CLEAN, SPLITS, TAUGHT = Path("data/clean"), Path("data/splits"), Path("data/taught")


def main(params: Params) -> None:
    section = params.model
    architecture = section.model_dump(exclude={"weights", "input_size"})
    architecture["mean"], architecture["std"] = normalisation(section.encoder)
    size = (section.input_size[0], section.input_size[1])
    data = [CLEAN / "manifest.csv", *sorted(SPLITS.glob("*.csv")), TAUGHT / "photos.csv", Path("data/teacher.json")]
    teacher = params.teacher
    taught = read_taught(TAUGHT, teacher.weight, teacher.unlabelled)
    taught_so = [teacher.weight, teacher.unlabelled]
    mark = fingerprint([section.model_dump(), taught_so, params.train.model_dump()], data)
    with resume_folder(Path(".resume/train"), mark) as state:
        seed_everything(params.train.seed)  # the decoder starts from random weights
        network = build_model(architecture, section.weights)
        network, history, best = train_network(
            network, CLEAN, read_split(SPLITS), size, params.train.model_dump(), state, taught=taught
        )
        save_model("models/trained", network, ModelConfig(architecture=architecture, input_size=size))
        write_table("plots/history.csv", history)
        summary = {
            "epochs": len(history),
            "best_epoch": best,
            "best_val_iou": float(history["val_iou"].max()),
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
        }
        write_json("metrics/train.json", summary)


if __name__ == "__main__":
    run(main)
