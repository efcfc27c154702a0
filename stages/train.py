"""train: the network of section model, trained as section train says, with the best weights by val IoU."""

from pathlib import Path

from personseg.files import write_json, write_table
from personseg.model import save_model
from personseg.resume import fingerprint, resume_folder
from personseg.splits import read_split
from personseg.taught import read_taught
from personseg.training import train_model
from stages.common import Params, run

CLEAN, SPLITS, TAUGHT = Path("data/clean"), Path("data/splits"), Path("data/taught")


def main(params: Params) -> None:
    model, train, teacher = params.model.model_dump(), params.train.model_dump(), params.teacher
    data = [CLEAN / "manifest.csv", *sorted(SPLITS.glob("*.csv")), TAUGHT / "photos.csv", Path("data/teacher.json")]
    taught = read_taught(TAUGHT, teacher.weight, teacher.labelled_share)
    mark = fingerprint([model, teacher.weight, teacher.labelled_share, train], data)
    with resume_folder(Path(".resume/train"), mark) as state:
        network, config, history, best = train_model(model, train, CLEAN, read_split(SPLITS), state, taught)
        save_model("models/trained", network, config)
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
