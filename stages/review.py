"""No stage: the page to look at masks, sort and mend them, beside the road and with its params (`make review`)."""

from __future__ import annotations

import argparse
from pathlib import Path

from personseg.audit import AuditLimits
from personseg.errors import one_line_errors
from personseg.review.server import LOOPBACK, make_app, serve
from stages.params import load_params


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", help="of data/categories/NAME.csv; default: data.name in params.yaml")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: this machine alone")
    parser.add_argument("--port", type=int, default=8600)
    arguments = parser.parse_args()
    with one_line_errors():
        params = load_params()
        name = arguments.name or params.data.name
        app = make_app(
            Path("data/jpg"),
            Path("data/folds"),
            Path("data/audit/scores.csv"),
            Path("data/categories") / f"{name}.csv",
            AuditLimits(**params.audit.limits.model_dump()),
            LOOPBACK if arguments.host == "127.0.0.1" else ["*"],
        )
        print(f"review of {name}: http://{arguments.host}:{arguments.port}  (Ctrl-C ends it; all is saved at once)")
        serve(app, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
