"""source: note what the data source holds, so that a changed source, and only that, reruns the road."""

from personseg.files import write_json
from personseg.sources import describe_source, resolve
from stages.common import Params, run


def main(params: Params) -> None:
    description = describe_source(resolve(params.data.source), params.data.sha256)
    write_json("data/source.json", description)


if __name__ == "__main__":
    run(main)
