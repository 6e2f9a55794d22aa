"""Bodies: what is read from them, and how answers are written."""

import json

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi.errors import InputError
from umekomi.serve.errors import error_body
from umekomi.serve.schemas.requests import EmbeddingsRequest, EncodingFormat, parse_embeddings_request
from umekomi.serve.schemas.responses import embeddings_body
from umekomi.vectors.arithmetic import from_base64


def parse(**fields: object) -> EmbeddingsRequest:
    return parse_embeddings_request(json.dumps({"model": "m", "input": "x", **fields}).encode())


def test_the_four_forms_of_input() -> None:
    assert parse(input="a text").inputs == ["a text"]
    assert parse(input=["a", "b"]).inputs == ["a", "b"]
    assert parse(input=[1, 2, 3]).inputs == [[1, 2, 3]]
    assert parse(input=[[1], [2, 3]]).inputs == [[1], [2, 3]]


def test_a_token_array_may_be_longer_than_the_number_of_inputs_allowed() -> None:
    assert parse(input=[5] * 5000).inputs == [[5] * 5000]


def test_fields_that_are_null_are_as_if_they_were_not_there() -> None:
    asked = parse(dimensions=None, encoding_format=None, user=None)
    assert (asked.dimensions, asked.encoding_format) == (None, EncodingFormat.FLOAT)


def test_unknown_fields_are_named() -> None:
    with pytest.raises(InputError, match="Unrecognized request arguments supplied: role, temperature"):
        parse(role="query", temperature=1)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_both_formats_give_back_every_bit(numbers: list[float]) -> None:
    vectors = np.array([numbers, numbers[::-1]], dtype=np.float32)
    answers = {
        kind: json.loads(embeddings_body(vectors, model="m", n_tokens=3, encoding_format=kind))
        for kind in EncodingFormat
    }
    rows = [np.array(row["embedding"], dtype=np.float32) for row in answers[EncodingFormat.FLOAT]["data"]]
    assert np.array(rows).tobytes() == vectors.tobytes()
    texts = [row["embedding"] for row in answers[EncodingFormat.BASE64]["data"]]
    assert np.array([from_base64(text) for text in texts]).tobytes() == vectors.tobytes()
    for answer in answers.values():
        assert list(answer) == ["object", "data", "model", "usage"]
        assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert [row["index"] for row in answer["data"]] == [0, 1]


def test_numbers_are_as_short_as_a_float32_allows() -> None:
    vectors = np.array([[0.1, -1 / 3]], dtype=np.float32)
    body = embeddings_body(vectors, model="m", n_tokens=1, encoding_format=EncodingFormat.FLOAT)
    assert b'"embedding":[0.1,-0.33333334]' in body


def test_a_shortened_view_of_vectors_is_written_right() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    for kind in EncodingFormat:
        rows = json.loads(embeddings_body(vectors, model="m", n_tokens=1, encoding_format=kind))["data"]
        found = [row["embedding"] if kind == "float" else from_base64(row["embedding"]).tolist() for row in rows]
        assert found == vectors.tolist()


def test_an_error_has_four_keys_whatever_its_message_holds() -> None:
    body = json.loads(error_body('a "quote", 日本語, \ud800', error_type="server_error"))
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert (
        httpx.Response(500, content=error_body("日本語", error_type="server_error")).json()["error"]["message"]
        == "日本語"
    )
