"""Speed of the validation of embeddings requests: ``umekomi.serve.schemas``, msgspec and pydantic.

    python benchmarks/request_validation.py [--before ../older-checkout/src]

Each validator parses the JSON body and checks every value. The validators run in separate processes that take turns, so that they
share the conditions of the machine; the table shows the shortest CPU time of all rounds in microseconds. ``--before`` adds the
validation of an older checkout, in which ``umekomi.serve.schemas`` is a module. msgspec is not a dependency: install it first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

ROUNDS = 7
TEXT = "The food was delicious and the waiter was very friendly to us"
INPUTS: dict[str, Any] = {
    "1 text": TEXT,
    "100 texts": [f"{TEXT} {n}" for n in range(100)],
    "2,048 texts": [f"{TEXT} {n}" for n in range(2048)],
    "100 arrays of 100 ids": [list(range(1000, 1100))] * 100,
    "2,048 arrays of 100 ids": [list(range(1000, 1100))] * 2048,
}


def fields_validator() -> Callable[[bytes], object]:
    from umekomi.serve.schemas.requests import parse_embeddings_request

    return parse_embeddings_request


def before_validator() -> Callable[[bytes], object]:
    from umekomi.serve import schemas

    validator: Callable[[bytes], object] = schemas.parse_embeddings_request  # type: ignore[attr-defined]
    return validator


def msgspec_validator() -> Callable[[bytes], object]:
    import msgspec

    text = Annotated[str, msgspec.Meta(min_length=1)]
    ids = Annotated[list[int], msgspec.Meta(min_length=1)]
    # A union may contain only one array type, so that the types of the items are compared afterwards.
    items = Annotated[list[text | int | ids], msgspec.Meta(min_length=1)]  # type: ignore[valid-type]
    request = msgspec.defstruct(
        "Request",
        [
            ("model", str),
            ("input", text | items),  # type: ignore[operator]
            ("encoding_format", Literal["float", "base64"] | None, None),
            ("dimensions", Annotated[int, msgspec.Meta(ge=1)] | None, None),  # type: ignore[operator]
            ("user", str | None, None),
        ],
        forbid_unknown_fields=True,
    )
    decoder = msgspec.json.Decoder(request)

    def validate(body: bytes) -> object:
        value: Any = decoder.decode(body)
        if isinstance(value.input, list) and len(set(map(type, value.input))) > 1:
            raise ValueError("items of several types")
        return value

    return validate


def pydantic_validator() -> Callable[[bytes], object]:
    import orjson
    from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

    def tag(value: Any) -> str:
        if isinstance(value, list):
            return {frozenset({int}): "ids", frozenset({list}): "arrays"}.get(frozenset(map(type, value)), "texts")
        return "text"

    text = Annotated[str, Field(min_length=1)]
    ids = Annotated[list[int], Field(min_length=1)]
    limits = Field(min_length=1, max_length=2048)
    inputs = Annotated[
        Annotated[text, Tag("text")]
        | Annotated[ids, Tag("ids")]
        | Annotated[list[text], limits, Tag("texts")]  # type: ignore[valid-type]
        | Annotated[list[ids], limits, Tag("arrays")],  # type: ignore[valid-type]
        Discriminator(tag),
    ]

    class Request(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        model: str
        input: inputs  # type: ignore[valid-type]
        encoding_format: Literal["float", "base64"] | None = None
        dimensions: Annotated[int, Field(ge=1)] | None = None
        user: str | None = None

    Request.model_rebuild(_types_namespace={**globals(), **locals()})
    return lambda body: Request.model_validate(orjson.loads(body))


VALIDATORS = {
    "before": before_validator,
    "fields": fields_validator,
    "msgspec": msgspec_validator,
    "pydantic": pydantic_validator,
}


def measure(name: str) -> dict[str, float]:
    """Return the microseconds per request of each case."""
    validate = VALIDATORS[name]()
    times = {}
    for case, inputs in INPUTS.items():
        body = json.dumps({"model": "text-embedding-ada-002", "input": inputs}).encode()
        number = max(3, 20_000_000 // (1000 + 100 * len(body)))
        times[case] = (
            min(timeit.repeat(lambda: validate(body), timer=time.process_time, number=number, repeat=5)) / number * 1e6  # noqa: B023
        )
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", type=Path, help="src folder of an older checkout")
    parser.add_argument("--measure", choices=VALIDATORS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure)))
        return
    names = [name for name in VALIDATORS if name != "before" or options.before]
    times: dict[str, dict[str, float]] = {name: {} for name in names}
    for _ in range(ROUNDS):
        for name in names:
            environment = dict(os.environ)
            if name == "before":
                environment["PYTHONPATH"] = str(options.before.resolve())
            command = [sys.executable, __file__, "--measure", name]
            printed = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
            for case, value in json.loads(printed).items():
                times[name][case] = min(value, times[name].get(case, value))
    print("| microseconds | " + " | ".join(names) + " |")
    print("| --- |" + " --- |" * len(names))
    for case in INPUTS:
        print(f"| {case} | " + " | ".join(f"{times[name][case]:,.1f}" for name in names) + " |")


if __name__ == "__main__":
    main()
