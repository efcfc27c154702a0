"""The tables of README and docs/, written anew from what is recorded in results/.

    python -m benchmarks.pages

A table stands between the marks `<!-- NAME -->` and `<!-- /NAME -->`; sentences with figures are written by hand, and
tests compare them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import scale_costs
from personseg.errors import UserError, one_line_errors
from personseg.files import atomic_path, read_table

RESULTS = Path("results")


def markdown(head: Sequence[str], rows: Iterable[Sequence[Any]], left: Sequence[int] = (0,)) -> str:
    """A Markdown table; figures to the right, the columns numbered in `left` to the left."""
    marks = "|".join("---" if column in left else "---:" for column in range(len(head)))
    cells = (" | ".join(str(cell) for cell in row) for row in (head, *rows))
    first, *others = (f"| {line} |" for line in cells)
    return "\n".join([first, f"|{marks}|", *others])


def of_report(number: int) -> str:
    """Table `number` of the recorded report."""
    text = (RESULTS / "picsart/report.md").read_text(encoding="utf-8")
    return text.split(f"Table {number}.", 1)[1].split("\n\n", 2)[1]


def cleaning() -> str:
    """What cleaning buys: means over seeds, and IoU by seed."""
    trained = read_table(RESULTS / "picsart/cleaning.csv")
    rows = []
    for name, runs in trained.groupby("variant", sort=False):
        means = [f"{runs[column].mean():.4f}" for column in ("test_iou", "test_iou_imagewise", "test_boundary_iou")]
        rows.append([name, runs["photos"].iloc[0], *means, " / ".join(f"{value:.4f}" for value in runs["test_iou"])])
    return markdown(["trained on", "photos", "test IoU", "per photo", "boundary IoU", "IoU by seed"], rows)


def ablation() -> str:
    """A row per variant and seed, in the order of being run, and what it shows."""
    table = read_table(RESULTS / "picsart/ablation.csv")
    rows = [
        [
            row["variant"] + (f", seed {row['seed']}" if row["seed"] != 1 else ""),
            f"{row['val_iou']:.4f}",
            f"{row['val_boundary_iou']:.3f}",
            f"{row['test_iou']:.4f} [{row['test_iou_ci95_low']:.4f}, {row['test_iou_ci95_high']:.4f}]",
            f"{row['test_boundary_iou']:.3f}",
            f"{row['training_minutes']:.1f}",
            row["shows"] if row["seed"] == 1 else "",
        ]
        for row in table.to_dict("records")
    ]
    head = ["variant", "val IoU", "boundary", "test IoU [95 %]", "boundary", "minutes", "what it shows"]
    return markdown(head, rows, left=(0, 3, 6))


PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "README.md": {"iou": lambda: of_report(1), "times": lambda: of_report(2), "cleaning": cleaning},
    "docs/experiments.md": {"ablation": ablation},
    "docs/scale.md": {
        name: lambda name=name: scale_costs.tables(RESULTS)[1][name]  # type: ignore[misc]
        for name in ("spark", "serving", "costs")
    },
}


def replace(page: str, name: str, table: str) -> str:
    """Put `table` between the marks `<!-- NAME -->` and `<!-- /NAME -->`; UserError if they are not there."""
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if page.count(first) != 1 or page.count(last) != 1:
        raise UserError(f"the page has no place for the table {name}: it lies between {first.strip()} and {last}")
    head, _, rest = page.partition(first)
    return f"{head}{first}{table}\n{last}{rest.partition(last)[2]}"


def written_anew(page: str) -> str:
    """The text of a page with its tables as they are recorded."""
    text = Path(page).read_text(encoding="utf-8")
    for name, table in PAGES[page].items():
        text = replace(text, name, table())
    return text


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    with one_line_errors():
        for page in PAGES:
            text = written_anew(page)
            with atomic_path(page) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print(page, *re.findall(r"<!-- (\w+) -->", text))


if __name__ == "__main__":
    main()
