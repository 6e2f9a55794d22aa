"""Run the commands in the pages of the use cases, and update their output and pictures.

``make guide`` runs it after ``benchmarks/guide.py``, which creates the embedded files. Each block that begins with ``$ umekomi``
contains the output of that command; ``| head -n 5`` keeps the first lines. Pictures are written to docs/pictures. Arguments limit
the run to some pages, as in ``python benchmarks/guide_pages.py clustering.md``.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
BUILD = Path(__file__).parents[1] / "build" / "guide"
FILES = {"reviews.parquet": "fine-food-reviews.parquet", "news.parquet": "ag-news.parquet"}
PAGES = [
    "obtain.md", "maps.md", "regression.md", "classification.md", "zero-shot.md", "clustering.md", "anomalies.md", "diversity.md",
    "search.md", "recommend.md", "profiles.md",
]  # fmt: skip
_BLOCK = re.compile(r"```text\n(\$ umekomi .*?)```\n", re.DOTALL)
_WIDTH = 140


def run_command(line: str) -> str:
    """Run a command in the folder of the embedded files and return its output. An error ends the program."""
    command, _, head = line.partition(" | ")
    words = shlex.split(command)[1:]
    for index, word in enumerate(words):
        if words[index - 1] in ("--picture", "--plot", "--histogram", "--confusion", "--curves") or word.endswith(
            ".png"
        ):
            words[index] = str(DOCS / "pictures" / word)
    process = subprocess.run(
        [sys.executable, "-m", "umekomi", *words], cwd=BUILD, capture_output=True, text=True, check=False
    )
    if process.returncode:
        sys.exit(f"{line}\n{process.stderr}")
    lines = process.stdout.replace(str(DOCS / "pictures") + os.sep, "").splitlines()
    if head:
        lines = lines[: int(head.split()[-1])]
    return "\n".join(line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…" for line in lines)


def update_block(match: re.Match[str]) -> str:
    """Return a block of commands with the current output."""
    commands = [line[2:] for line in match[1].splitlines() if line.startswith("$ ")]
    return (
        "```text\n"
        + "".join(f"$ {line}\n{run_command(line)}\n" for line in commands).replace("\n\n\n", "\n\n")
        + "```\n"
    )


def main() -> None:
    for name, file in FILES.items():
        link = BUILD / name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    for page in sys.argv[1:] or PAGES:
        print(page, file=sys.stderr, flush=True)
        path = DOCS / page
        path.write_text(_BLOCK.sub(update_block, path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
