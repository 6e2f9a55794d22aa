"""The columns of an embedded file: those of the input, then ``embedding``, ``n_tokens`` and ``text``.

No column of the input is lost. One that has the name of an added column is kept as ``input_text``, for example, unless the new
column has the same values or the old one was itself made by an earlier ``umekomi embed``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from ..errors import RecordError
from ..vectors.arithmetic import FloatArray
from ..vectors.arrow import VectorType, to_column
from .records import ADDED, METADATA_KEY, Space, embedded_schema

DEFAULT_TEMPLATE = "{text}"


class TooLong(StrEnum):
    """What to do with a text of more tokens than the model takes."""

    FAIL = "fail"
    TRUNCATE = "truncate"


@dataclass(frozen=True, slots=True)
class EmbeddedColumns:
    """The columns of an output and where they come from."""

    #: Schema of the output, with the metadata that names the vector space.
    schema: pa.Schema
    #: Output column to input column, for the columns that are copied.
    inputs: Mapping[str, str]

    @property
    def renamed(self) -> dict[str, str]:
        """Input column to output column, for the columns that are kept under another name."""
        return {source: name for name, source in self.inputs.items() if source != name}

    def table(
        self, rows: pa.Table, vectors: FloatArray, n_tokens: Sequence[int], texts: Sequence[str], *, dtype: VectorType
    ) -> pa.Table:
        """Join rows of the input with what was computed for them: ``vectors`` is ``(len(rows), dims) float32``."""
        added = {
            "embedding": to_column(vectors, dtype),
            "n_tokens": pa.array(n_tokens, pa.int32()),
            "text": pa.array(texts, pa.string()),
        }
        columns = [
            rows[self.inputs[field.name]] if field.name in self.inputs else added[field.name] for field in self.schema
        ]
        return pa.Table.from_arrays(columns, schema=self.schema)


def plan_columns(
    schema: pa.Schema,
    space: Space,
    *,
    template: str | None,
    too_long: TooLong,
    vectors: VectorType,
    metadata: Mapping[bytes, bytes] | None = None,
) -> EmbeddedColumns:
    """Decide which columns an output has.

    Args:
        schema: Columns of the input.
        space: Vector space of the output.
        template: What is embedded; None stands for the column ``text``.
        too_long: Whether texts may be truncated.
        vectors: Type of the vectors.
        metadata: Metadata of the input file; it says whether the input is itself an embedded file.

    Raises:
        RecordError: Two columns of the input have the same name.
    """
    duplicate = next((name for name in schema.names if schema.names.count(name) > 1), None)
    if duplicate is not None:
        raise RecordError(f"The input has two columns named {duplicate!r}. Rename one of them.")
    replaced = _replaced_columns(metadata)
    copied = template in (None, DEFAULT_TEMPLATE) and too_long is TooLong.FAIL and _is_text(schema.field("text").type)
    if copied:
        replaced.add("text")
    names = free_names(schema.names, replaced)
    fields = [schema.field(source).with_name(name) for source, name in names.items()]
    # Without a template in its metadata, the column text is data of the input, which no later run may replace.
    computed_from = None if copied else template or DEFAULT_TEMPLATE
    output = embedded_schema(pa.schema(fields), space, vectors=vectors, template=computed_from)
    return EmbeddedColumns(output, {name: source for source, name in names.items()})


def free_names(names: Iterable[str], replaced: Collection[str] = ()) -> dict[str, str]:
    """Map the columns of an input to their names in an embedded file; those in ``replaced`` are left out.

    >>> free_names(["id", "text", "n_tokens"], {"n_tokens"})
    {'id': 'id', 'text': 'input_text'}
    """
    kept = [name for name in names if name not in replaced or name not in ADDED]
    taken = {*kept, *ADDED}
    result = {}
    for name in kept:
        new, number = name, 1
        while name in ADDED and new in taken:
            new = f"input_{name}" if number == 1 else f"input_{name}_{number}"
            number += 1
        taken.add(new)
        result[name] = new
    return result


def _replaced_columns(metadata: Mapping[bytes, bytes] | None) -> set[str]:
    """The columns that an earlier ``umekomi embed`` added and that can be computed again from the others."""
    try:
        facts = json.loads((metadata or {})[METADATA_KEY])
    except (KeyError, ValueError, RecursionError):
        return set()
    if not isinstance(facts, dict) or "fingerprint" not in facts:
        return set()
    return {"embedding", "n_tokens", "text"} if "template" in facts else {"embedding", "n_tokens"}


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def describe_renamed(renamed: Mapping[str, str]) -> str:
    """Say for the user that columns of the input are kept under other names.

    >>> describe_renamed({"text": "input_text"})
    "The input's column 'text' is kept as 'input_text', because 'text' holds what was embedded."
    """
    holds = {"text": "what was embedded", "n_tokens": "the numbers of tokens", "embedding": "the vectors"}
    return " ".join(
        f"The input's column {source!r} is kept as {name!r}, because {source!r} holds {holds[source]}."
        for source, name in renamed.items()
    )
