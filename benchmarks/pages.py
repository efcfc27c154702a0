"""The tables of README and docs/, written anew from what is recorded in results/.

    python -m benchmarks.pages

A table stands between the marks `<!-- NAME -->` and `<!-- /NAME -->`; sentences with figures are written by hand, and
tests compare them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path

import pandas as pd

from benchmarks import growth, markdown, scale_costs, scaling
from benchmarks.folder import PARTS
from personseg.benchmark import REFERENCE, UNTRAINED
from personseg.errors import UserError, one_line_errors
from personseg.files import atomic_path, read_json, read_table
from personseg.report import VARIANT_MS
from personseg.results import backend_title

RESULTS = Path("results")
AGAIN = "time it again"  # what warnings of an unsteady row say


def of_report(number: int) -> str:
    """Table `number` of the recorded report, and the warnings beneath it."""
    text = (RESULTS / "picsart/report.md").read_text(encoding="utf-8")
    _, table, *beneath = text.split(f"Table {number}.", 1)[1].split("\n\n")
    return "\n\n".join([table, *takewhile(lambda paragraph: AGAIN in paragraph, beneath)])


def cleaning() -> str:
    """What cleaning buys: means over seeds, IoU by seed, and the IoU less that of the default."""
    trained, apart = read_table(RESULTS / "picsart/cleaning.csv"), read_json(RESULTS / "picsart/cleaning.json")
    rows = []
    for name, runs in trained.groupby("variant", sort=False):
        means = [f"{runs[column].mean():.4f}" for column in ("test_iou", "test_iou_imagewise", "test_boundary_iou")]
        by_seed = " / ".join(f"{value:.4f}" for value in runs["test_iou"])
        difference = "the default"
        if name in apart:
            difference = "{difference:+.4f} [{ci95_low:+.4f}, {ci95_high:+.4f}]".format(**apart[name]["iou"])
        rows.append([name, runs["photos"].iloc[0], *means, by_seed, difference])
    head = ["trained on", "photos", "test IoU", "per photo", "boundary IoU", "IoU by seed", "IoU less the default's"]
    return markdown.table(head, rows)


def variants(name: str) -> str:
    """A row per variant and seed of a table of benchmarks.ablation, in its order, and what it shows."""
    table = read_table(RESULTS / "picsart" / name)
    rows = [
        [
            row["variant"] + (f", seed {row['seed']}" if row["seed"] != 1 else ""),
            f"{row['val_iou']:.4f}",
            f"{row['val_boundary_iou']:.3f}",
            f"{row['test_iou']:.4f} [{row['test_iou_ci95_low']:.4f}, {row['test_iou_ci95_high']:.4f}]",
            f"{row['test_boundary_iou']:.3f}",
            f"{row['training_minutes']:.1f}" if pd.notna(row["training_minutes"]) else "",
            f"{row['parameters'] / 1e6:.1f}",
            f"{row[VARIANT_MS]:.1f}" if pd.notna(row.get(VARIANT_MS)) else "",
            row["shows"] if row["seed"] == 1 else "",
        ]
        for row in table.to_dict("records")
    ]
    head = ["variant", "val IoU", "boundary", "test IoU [95 %]", "boundary", "minutes", "M", "ms", "what it shows"]
    return markdown.table(head, rows, left=(0, 3, 8))


def _scaling(name: str) -> pd.DataFrame:
    """A table of benchmarks.scaling: the rows that were timed, with titles."""
    table = read_table(RESULTS / "picsart" / name).dropna(subset="p50_s")
    whole = ["batch", "threads", "height", "width"]
    table[whole] = table[whole].astype(int)
    titles = [
        scaling.MEDIAPIPE_TITLE if name == scaling.MEDIAPIPE else backend_title(name) for name in table["backend"]
    ]
    return table.assign(title=titles, input=table["height"].astype(str) + "x" + table["width"].astype(str))


def _own(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the model at its own input size, which a table of benchmarks.scaling begins with."""
    return table[(table["input"] == table["input"].iloc[0]) & (table["backend"] != scaling.MEDIAPIPE)]


def ratios() -> str:
    """The quickest runtime at batch 1 on all cores, and what it is compared with."""
    table = _scaling("ratios.csv")
    table = table[(table["batch"] == 1) & (table["threads"] == table["threads"].max())]
    quickest = _own(table).sort_values("p50_s").iloc[0]
    compared = (quickest["backend"], REFERENCE, UNTRAINED, scaling.MEDIAPIPE)
    rows = [
        [row["title"], row["input"], f"{1e3 * row['p50_s']:.3g}", f"{row['p50_s'] / quickest['p50_s']:.3g}"]
        for name in compared
        for row in table[table["backend"] == name].to_dict("records")
    ]
    head = ["batch 1, all cores", "input", "p50, ms", "times the quickest"]
    shown = table[table["backend"].isin(compared)].to_dict("records")
    beneath = [f"{row['title']} at {row['input']}: {row['warning']}." for row in shown if pd.notna(row.get("warning"))]
    return "\n\n".join([markdown.table(head, rows, left=(0, 1)), *beneath])


def throughput() -> str:
    """Photos a second of every runtime at the model's input size, by threads and batch."""
    table = _own(_scaling("scaling.csv"))
    wide = table.pivot(index="title", columns=["threads", "batch"], values="images_per_s").loc[table["title"].unique()]
    wide = wide.sort_index(axis="columns")
    head = ["photos / s", *(f"{threads} thread{'s' * (threads > 1)}, batch {batch}" for threads, batch in wide.columns)]
    return markdown.table(head, [[name, *(f"{value:.3g}" for value in row)] for name, *row in wide.itertuples()])


def folders() -> str:
    """A whole folder against PyTorch one by one, and where the time of a photo goes; by runtime."""
    rows, beneath = [], []
    for name in ("folder", "folder_int8"):
        found = read_json(RESULTS / f"picsart/{name}.json")
        parts = found["profile"]["ms"]
        rows.append(
            [
                backend_title(found["runtime"]),
                f"{found['images_per_s']:.0f}",
                f"{found['same_runtime_one_by_one']['images_per_s']:.0f}",
                f"{found['one_by_one']['images_per_s']:.1f}",
                f"{found['ratio']:.1f}",
                *(f"{parts[part]:.2f}" for part in PARTS),
                f"{found['outside_network']:.0%}".replace("%", " %"),
            ]
        )
        if warning := found["one_by_one"].get("warning"):
            beneath.append(f"{backend_title(REFERENCE)} beside {backend_title(found['runtime'])}: {warning}.")
    head = ["photos / s", "folder", "one by one", "PyTorch fp32 one by one", "ratio"]
    table = markdown.table([*head, *(f"{part}, ms" for part in PARTS), "outside the network"], rows)
    return "\n\n".join([table, *beneath])


def structure() -> str:
    """What other encoders, decoders and sizes take in int8, against the default."""
    rows = [
        [row["network"], f"{1e3 * row['p50_s']:.2f}", f"{row['of_the_default']:.2f}"]
        for row in read_table(RESULTS / "picsart/structure.csv").to_dict("records")
    ]
    return markdown.table(["network, int8, batch 1", "p50, ms", "of the default's"], rows)


Tables = Mapping[str, str]  # by the name of the mark

PAGES: Mapping[str, Callable[[], Tables]] = {
    "README.md": lambda: {"iou": of_report(1), "times": of_report(2), "cleaning": cleaning()},
    "docs/experiments.md": lambda: {"ablation": variants("ablation.csv"), "students": variants("students.csv")},
    "docs/scale.md": lambda: scale_costs.tables(RESULTS)[1],
    "docs/benchmarks.md": lambda: {
        "ratios": ratios(),
        "scaling": throughput(),
        "folders": folders(),
        "structure": structure(),
    },
    "docs/reliability.md": lambda: {"growth": growth.table(read_json(RESULTS / "growth.json"))},
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
    for name, table in PAGES[page]().items():
        text = replace(text, name, table)
    return text


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    with one_line_errors():
        for page in PAGES:
            text = written_anew(page)
            with atomic_path(page) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print(page)


if __name__ == "__main__":
    main()
