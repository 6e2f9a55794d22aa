"""Run the commands that the pages of the use cases show, and update their output and pictures in the pages.

``make guide`` runs it after ``benchmarks/guide.py``, whose embedded files it uses. A block of a page that begins with
``$ umekomi`` is what that command prints; ``| head -n 5`` keeps its first lines. The pictures go to docs/pictures. With names
of pages, as in ``python benchmarks/guide_pages.py clustering.md``, only those are written.
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


def output_of(line: str) -> str:
    """Run a command in the folder of the embedded files and return its standard output. An error ends the program."""
    command, _, head = line.partition(" | ")
    words = shlex.split(command)[1:]
    for place, word in enumerate(words):
        if words[place - 1] in ("--picture", "--plot", "--histogram", "--confusion", "--curves") or word.endswith(
            ".png"
        ):
            words[place] = str(DOCS / "pictures" / word)
    done = subprocess.run(
        [sys.executable, "-m", "umekomi", *words], cwd=BUILD, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{line}\n{done.stderr}")
    kept = done.stdout.replace(str(DOCS / "pictures") + os.sep, "").splitlines()
    if head:
        kept = kept[: int(head.split()[-1])]
    return "\n".join(each if len(each) <= _WIDTH else each[: _WIDTH - 1] + "…" for each in kept)


def block(found: re.Match[str]) -> str:
    """Return a block of commands with their current output."""
    commands = [line[2:] for line in found[1].splitlines() if line.startswith("$ ")]
    return (
        "```text\n" + "".join(f"$ {line}\n{output_of(line)}\n" for line in commands).replace("\n\n\n", "\n\n") + "```\n"
    )


def main() -> None:
    for name, file in FILES.items():
        link = BUILD / name
        link.unlink(missing_ok=True)
        link.symlink_to(file)
    for page in sys.argv[1:] or PAGES:
        print(page, file=sys.stderr, flush=True)
        path = DOCS / page
        path.write_text(_BLOCK.sub(block, path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
