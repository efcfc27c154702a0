"""track: record this state of the pipeline as one MLflow run."""

from personseg.tracking import RunInfo, track
from stages.common import Params, run


def main(params: Params) -> None:
    info = RunInfo(
        experiment=params.track.experiment,
        data_name=params.data.name,
        encoder=params.model.encoder if params.model.name != "report_unet" else params.model.name,
        loss="+".join(name for name, weight in params.train.loss.items() if weight),
    )
    run_id, created = track(".", params.model_dump(), params.benchmark.backends, info)
    print(f"MLflow run {run_id}: {'recorded' if created else 'this state is recorded already'}")


if __name__ == "__main__":
    run(main)
