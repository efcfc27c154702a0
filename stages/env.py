"""env: the machine and its libraries, so that another machine measures anew and the same one does not."""

from personseg.environment import environment
from personseg.files import write_json
from stages.common import Params, run


def main(params: Params) -> None:
    write_json("data/env.json", environment())


if __name__ == "__main__":
    run(main)
