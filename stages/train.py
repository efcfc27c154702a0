"""train: the network of section model, trained as section train says, with the best weights by val IoU."""

from pathlib import Path

from personseg.files import write_json, write_table
from personseg.model import save_model
from personseg.ranks import PLACEMENT, is_first
from personseg.resume import fingerprint, resume_folder
from personseg.splits import read_split
from personseg.taught import read_taught
from personseg.training import train_model
from stages.common import Params, network_params, run

CLEAN, SPLITS, TAUGHT = Path("data/clean"), Path("data/splits"), Path("data/taught")


def main(params: Params) -> None:
    model, train, teacher = params.model.model_dump(), params.train.model_dump(), params.teacher
    data = [CLEAN / "manifest.csv", *sorted(SPLITS.glob("*.csv")), TAUGHT / "photos.csv"]
    data += [Path("data/teacher.json"), Path("data/weights.json"), *TAUGHT.glob("model/config.json")]
    taught = read_taught(TAUGHT, teacher.weight, teacher.labelled_share, teacher.hints)
    stems, folder, network = read_split(SPLITS), Path(".resume/train"), network_params(params)
    if not is_first():  # torchrun's other processes train along and write nothing
        train_model(network, train, CLEAN, stems, folder, taught)
        return
    # What was begun on one device may go on on four.
    decides = {key: value for key, value in train.items() if key not in PLACEMENT}
    taught_by = [teacher.weight, teacher.labelled_share, teacher.hints, teacher.mediapipe_share]
    mark = fingerprint([model, *taught_by, decides], data)
    with resume_folder(folder, mark) as state:
        trained, config, history, best = train_model(network, train, CLEAN, stems, state, taught)
        save_model("models/trained", trained, config)
        write_table("plots/history.csv", history)
        summary = {
            "epochs": len(history),
            "best_epoch": best,
            "best_val_iou": float(history["val_iou"].max()),
            "parameters": sum(parameter.numel() for parameter in trained.parameters()),
        }
        write_json("metrics/train.json", summary)


if __name__ == "__main__":
    run(main)
