"""``umekomi bias``."""

from __future__ import annotations

import click

from .mitigate import mitigate
from .recency import recency
from .seat import custom, seat
from .table import table
from .winogender import winogender


@click.group("bias", epilog="Example:  umekomi bias seat -m all-MiniLM-L6-v2 --report report.html")
def command() -> None:
    """Measure associations and biases of models, and how they handle new words.

    docs/limits.md explains what these tests can and cannot show. No test gives a single score, and none proves fairness.
    """


for subcommand in (seat, custom, winogender, recency, mitigate, table):
    command.add_command(subcommand)
