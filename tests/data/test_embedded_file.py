"""Tests for the columns of embedded files: no column of the input is lost, whatever its name."""

import pyarrow as pa
import pytest

from umekomi.data.embedded_file import Space, TooLong, assign_names, describe_renamed, plan_columns
from umekomi.errors import RecordError
from umekomi.vectors.arrow import VectorType

SPACE = Space("m", "f", 8)


def plan(
    schema: dict[str, pa.DataType], template: str | None, too_long: TooLong = TooLong.FAIL, again: pa.Schema = None
) -> list[str]:
    columns = plan_columns(
        pa.schema(schema), SPACE, template=template, too_long=too_long, vectors=VectorType.FLOAT32,
        metadata=again.metadata if again else None,
    )  # fmt: skip
    return [f"{columns.inputs[name]} as {name}" if name in columns.inputs else name for name in columns.schema.names]


ADDED = ["embedding", "n_tokens", "text"]


def test_input_columns_with_names_of_added_columns_are_renamed() -> None:
    schema = {"embedding": pa.string(), "title": pa.string(), "n_tokens": pa.int64(), "text": pa.string()}
    assert plan(schema, "{title}") == [
        "embedding as input_embedding", "title as title", "n_tokens as input_n_tokens", "text as input_text", *ADDED,
    ]  # fmt: skip


def test_a_text_column_that_is_embedded_unchanged_is_not_duplicated() -> None:
    schema = {"id": pa.int64(), "text": pa.string()}
    assert plan(schema, None) == plan(schema, "{text}") == ["id as id", *ADDED]
    assert plan({"text": pa.binary()}, None) == ADDED


def test_a_text_column_that_may_be_truncated_or_has_numbers_is_kept() -> None:
    assert plan({"text": pa.string()}, None, TooLong.TRUNCATE) == ["text as input_text", *ADDED]
    assert plan({"text": pa.float64()}, None) == ["text as input_text", *ADDED]


def test_renamed_columns_avoid_existing_names() -> None:
    assert assign_names(["text", "input_text", "input_text_2"]) == {
        "text": "input_text_3",
        "input_text": "input_text",
        "input_text_2": "input_text_2",
    }


def first(template: str | None, **schema: pa.DataType) -> pa.Schema:
    return plan_columns(
        pa.schema(schema), SPACE, template=template, too_long=TooLong.FAIL, vectors=VectorType.FLOAT32
    ).schema


def test_embedding_an_embedded_file_again_adds_no_columns() -> None:
    made = first("Title: {title}", title=pa.string())
    for template in ("Title: {title}", "{title}", "{text}"):
        assert plan(dict(zip(made.names, made.types, strict=True)), template, again=made) == ["title as title", *ADDED]


def test_an_input_text_column_survives_a_second_embedding_with_another_template() -> None:
    made = first(None, title=pa.string(), text=pa.string())
    schema = dict(zip(made.names, made.types, strict=True))
    assert plan(schema, "{title}", again=made) == ["title as title", "text as input_text", *ADDED]
    third = first("{title}", **schema)
    assert plan(dict(zip(third.names, third.types, strict=True)), "{title}", again=third)[1:3] == [
        "input_embedding as input_embedding",
        "input_n_tokens as input_n_tokens",
    ]


def test_columns_are_not_replaced_because_of_foreign_metadata() -> None:
    schema = {"embedding": pa.string(), "text": pa.string()}
    for metadata in (b"not JSON", b"[]", b"{}", b"null"):
        again = pa.schema([]).with_metadata({b"umekomi": metadata})
        assert plan(schema, None, again=again) == ["embedding as input_embedding", *ADDED]


def test_malformed_metadata_is_ignored() -> None:
    schema = pa.schema([("text", pa.string())])
    for metadata in (b"", b"{", b"[" * 100_000, b"null", b"\xff"):
        columns = plan_columns(
            schema,
            SPACE,
            template=None,
            too_long=TooLong.FAIL,
            vectors=VectorType.FLOAT32,
            metadata={b"umekomi": metadata},
        )
        assert columns.schema.names == ["embedding", "n_tokens", "text"]


def test_duplicate_column_names_are_rejected() -> None:
    schema = pa.schema([("a", pa.string()), ("a", pa.string())])
    with pytest.raises(RecordError, match="two columns named 'a'"):
        plan_columns(schema, SPACE, template="{a}", too_long=TooLong.FAIL, vectors=VectorType.FLOAT32)


def test_renamed_columns_are_described() -> None:
    assert describe_renamed({"text": "input_text", "n_tokens": "input_n_tokens"}) == (
        "The input's column 'text' is kept as 'input_text', because 'text' contains the embedded texts. "
        "The input's column 'n_tokens' is kept as 'input_n_tokens', because 'n_tokens' contains the token counts."
    )
