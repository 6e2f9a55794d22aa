"""Parts that several bias commands share."""

from __future__ import annotations

from pathlib import Path

from .....evaluation.datasets import find_files, public_dataset
from .....files.outputs import write_text
from ....options import PAGE_SUFFIXES, output_option
from ....output import echo_err

NO_SCORE = (
    "There is no single score, and none should be computed from these results. A small effect only means that these few words do "
    "not show one. No result proves that a model is fair. See docs/limits.md."
)

report_option = output_option(
    "--report", suffixes=PAGE_SUFFIXES, help="Write a report with figures to this .html file."
)


def write_report(path: Path, text: str) -> None:
    """Write a report and name its file on standard error."""
    write_text(path, text)
    echo_err(f"Wrote {path}.")


def is_available(name: str) -> bool:
    """Return True if all files of a public data set are on this machine. Otherwise, report that it is skipped."""
    dataset = public_dataset(name)
    if len(find_files(dataset)) == len(dataset.files):
        return True
    echo_err(f"{name} is not on this machine, so it is not measured. See `umekomi data get {name}`.")
    return False
