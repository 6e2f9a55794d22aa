"""``umekomi models check``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from ....assets.store import readable_size
from ....evaluation.model_check import check_model
from ...options import ModelName, json_option
from ...output import echo, echo_err, print_json


@click.command("check", epilog="Example:  umekomi models check ./my-model")
@click.argument("model", type=ModelName())
@json_option
def check(model: str, as_json: bool) -> None:
    """Load MODEL, show what it is made of, and measure its speed for two seconds.

    MODEL is a folder, owner/name on the Hugging Face hub, or a model of the catalog; rerankers and SPLADE models are accepted,
    too. A model that Umekomi cannot run is an error (exit status 2) that names the reason. If sentence-transformers is
    installed, the vectors of a folder are compared with its vectors.
    """
    print_check(check_model(model, report=echo_err), as_json=as_json)


def print_check(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the result of :func:`~umekomi.evaluation.model_check.check_model`."""
    if as_json:
        print_json(facts)
        return
    for name, value in _lines(facts):
        echo(f"{name:22} {value}")


def _lines(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", facts["model"]
    yield "type", facts["type"]
    for part in facts["parts"]:
        yield "architecture", part["architecture"] or part["name"]
        yield "  file", part["file"] or "of the catalog"
        yield "  window", f"{part['window']:,} tokens" if part["window"] else "no maximum"
        yield "  steps", ", ".join(part["steps"]) or "none"
        if part["n_weights"]:
            sizes = ", ".join(f"{readable_size(size)} in {name}" for name, size in part["bytes"].items())
            yield "  weights", f"{part['n_weights']:,}: {sizes}"
    if "dimensions" in facts:
        lengths = ", ".join(map(str, facts["shorter_dimensions"] or ())) or "any length"
        yield "dimensions", f"{facts['dimensions']:,}" + (f", shortened to {lengths}" if facts["can_shorten"] else "")
        for name, prompt in facts["prompts"].items():
            yield f"prompt {name}", repr(prompt)
        yield "fingerprint", facts["fingerprint"]
    yield "license", facts["license"] or "unknown"
    speed, comparison = facts["throughput"], facts["sentence_transformers"]
    if speed:
        yield (
            "speed",
            f"{speed['per_second']:,g} {speed['unit']} of {speed['tokens']} tokens per second on this machine "
            f"({speed['cores']} cores{', ' + facts['precision'] if facts['precision'] else ''})",
        )
    if comparison:
        for name, value in comparison.items():
            yield "sentence-transformers", f"{name.replace('_', ' ')}: {value}"
