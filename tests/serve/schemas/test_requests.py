"""Parsing of request bodies and serialization of responses."""

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


def test_input_can_have_four_forms() -> None:
    assert parse(input="a text").inputs == ["a text"]
    assert parse(input=["a", "b"]).inputs == ["a", "b"]
    assert parse(input=[1, 2, 3]).inputs == [[1, 2, 3]]
    assert parse(input=[[1], [2, 3]]).inputs == [[1], [2, 3]]


def test_a_token_array_can_be_longer_than_the_maximum_number_of_inputs() -> None:
    assert parse(input=[5] * 5000).inputs == [[5] * 5000]


def test_null_fields_equal_missing_fields() -> None:
    request = parse(dimensions=None, encoding_format=None, user=None)
    assert (request.dimensions, request.encoding_format) == (None, EncodingFormat.FLOAT)


def test_unknown_fields_are_an_error_that_names_them() -> None:
    with pytest.raises(InputError, match="Unrecognized request arguments supplied: role, temperature"):
        parse(role="query", temperature=1)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
def test_both_encoding_formats_preserve_every_bit(numbers: list[float]) -> None:
    vectors = np.array([numbers, numbers[::-1]], dtype=np.float32)
    answers = {
        form: json.loads(embeddings_body(vectors, model="m", n_tokens=3, encoding_format=form))
        for form in EncodingFormat
    }
    rows = [np.array(row["embedding"], dtype=np.float32) for row in answers[EncodingFormat.FLOAT]["data"]]
    assert np.array(rows).tobytes() == vectors.tobytes()
    texts = [row["embedding"] for row in answers[EncodingFormat.BASE64]["data"]]
    assert np.array([from_base64(text) for text in texts]).tobytes() == vectors.tobytes()
    for answer in answers.values():
        assert list(answer) == ["object", "data", "model", "usage"]
        assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
        assert [row["index"] for row in answer["data"]] == [0, 1]


def test_numbers_are_written_with_the_digits_of_float32() -> None:
    vectors = np.array([[0.1, -1 / 3]], dtype=np.float32)
    body = embeddings_body(vectors, model="m", n_tokens=1, encoding_format=EncodingFormat.FLOAT)
    assert b'"embedding":[0.1,-0.33333334]' in body


def test_a_noncontiguous_view_of_vectors_is_written_correctly() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    for form in EncodingFormat:
        rows = json.loads(embeddings_body(vectors, model="m", n_tokens=1, encoding_format=form))["data"]
        result = [row["embedding"] if form == "float" else from_base64(row["embedding"]).tolist() for row in rows]
        assert result == vectors.tolist()


def test_an_error_body_has_four_keys_for_every_message() -> None:
    body = json.loads(error_body('a "quote", 日本語, \ud800', error_type="server_error"))
    assert list(body["error"]) == ["message", "type", "param", "code"]
    assert (
        httpx.Response(500, content=error_body("日本語", error_type="server_error")).json()["error"]["message"]
        == "日本語"
    )
