"""report: the page with both tables beside the original report's, and its Markdown twin."""

from personseg.report import Options, render, write_plot_tables
from personseg.results import read_results
from stages.common import Params, run


def main(params: Params) -> None:
    section = params.report
    found = read_results(".", params.benchmark.backends)
    options = Options(
        title=section.title,
        data_name=params.data.name,
        generated=params.data.source == "sample",
        worst=section.worst,
        sheets=section.sheets,
        overlays=section.overlays,
    )
    render(found, options, "report/report.html", "report/report.md")
    write_plot_tables(found, "plots/latency.csv", "plots/iou_distribution.csv")


if __name__ == "__main__":
    run(main)
