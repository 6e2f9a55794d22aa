"""Values that break servers, in every field of every route: JSON bodies, forms, paths, queries and headers.

The requests are generated from the OpenAPI description of the server, so new routes and fields are covered. No request may
cause a status of 500 or above, or an error response that is not valid JSON. The server must work normally afterwards.
"""

import http.client
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from tests.encoders.cross_encoder.tiny import load_golden, make_folder
from umekomi import Embedder, Reranker
from umekomi.data.embedded_file import Space
from umekomi.serve.limits.keys import KeyFile, add_key
from umekomi.serve.rerankers import Rerankers
from umekomi.serve.schemas.json_text import read_json
from umekomi.serve.service import Limits
from umekomi.stores import create_store

from .conftest import MODEL, run_server

MEGABYTE = 2**20
STRINGS = [
    b'"\\ud800"', b'"\\udc00\\ud800 x"', b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"\\u0000"', b'"a\x00b"',
    b'"\\u202e\\u0007\\u001b[31m"',
    b'"' + b"a" * MEGABYTE + b'"', b'"' + "\u3042 ".encode() * 10_000 + b'"', b'"' + b"(" * 20_000 + b'"', b'""', b'" "',
    b'"\'; drop table files; --"', b'"../../etc/passwd"', b'"%00%ff"', b'"\\',
]  # fmt: skip
OTHERS = [
    b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b"[" * 900 + b"]" * 900,
    b"NaN", b"-Infinity", b"1e999",
    b"9" * 5000, b"18446744073709551616", b"9223372036854775808", b"-1", b"0", b"1.5", b"true", b"null", b"[]", b"{}", b"[[]]",
    b"[null]", b'[""]', b'["\\ud800"]', b'{"": ""}', b'{"\\ud800": "x"}', b'{"a": "1", "a": "2"}', b"",
]  # fmt: skip
BYTES = [
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"a" * 5000, b"..", b"../../etc/passwd", b"'\"", b"\xe2\x80\xae", b"%00", b"-1",
    b" ", b";=",
    "\u65e5\u672c".encode(), b"9" * 5000,
]  # fmt: skip
HEADERS = {
    "authorization": [b"Bearer", b"Bearer ", b"Bearer \xff\xfe", b"Basic eDp5", b"\xff", b"Bearer " + b"k" * 20_000],
    "api-key": [b"\xff\xfe", b"", b"k" * 20_000],
    "content-type": [b"\xff", b"application/json; charset=\xff", b"multipart/form-data; boundary=\xff\xfe",
                     b"multipart/form-data; boundary=",
                     b"application/json" + b";" * 5000, b"x" * 20_000],
    "host": [b"", b"\xff", b"[", b"a:b:c", b"x" * 5000],
    "origin": [b"null", b"\xff", b"http://elsewhere"],
    "range": [b"bytes", b"bytes=-", b"bytes=5-1", b"bytes=99999-", b"bytes=-99999999999999999999", b"bytes=" + b"9" * 5000 + b"-",
              b"bytes=0-0,2-3", b"items=0-1", b"\xff"],
    "if-range": [b"\xff"],
    "accept": [b"\xff"],
    "cookie": [b"\xff=\xfe"],
    "user-agent": [b"\xff"],
}  # fmt: skip


LINE = b'{"custom_id": "first", "method": "POST", "url": "/v1/embeddings", "body": {"model": "umekomi-fake", "input": "tea"}}'


class Target:
    """A client that sends raw bytes to a real server with keys, a store and files."""

    def __init__(self, address: str, key: str) -> None:
        parts = urlsplit(address)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._connection._validate_path = lambda url: None  # type: ignore[attr-defined]  # accept invalid bytes
        self.key = key

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, bytes | str] | None = None
    ) -> tuple[int, Any]:
        all_headers: dict[str, bytes | str] = {"authorization": f"Bearer {self.key}", **(headers or {})}
        try:
            self._connection.putrequest(method, path, skip_host="host" in all_headers, skip_accept_encoding=True)
            for name, value in all_headers.items():
                self._connection.putheader(name, value)
            self._connection.putheader("content-length", str(len(body)))
            self._connection.endheaders(body)
            answer = self._connection.getresponse()
            content, content_type = answer.read(), answer.headers["content-type"] or ""
        except ConnectionError:
            self._connection.close()  # rejected before the body was read
            return 0, None
        if answer.headers.get("connection") == "close":
            self._connection.close()
        details = (method, path[:80], body[:200], all_headers)
        assert answer.status < 500, (details, content)
        if answer.status >= 400:
            assert content_type == "application/json", (details, answer.status, content[:200])
            assert list(json.loads(content)["error"]) == ["message", "type", "param", "code"], details
        return answer.status, json.loads(content.decode("utf-8")) if content_type == "application/json" else content

    def close(self) -> None:
        self._connection.close()

    def json(self, method: str, path: str, value: object) -> tuple[int, Any]:
        return self.request(method, path, json.dumps(value).encode(), {"content-type": "application/json"})


def form(
    file: bytes,
    *,
    disposition: bytes = b'form-data; name="file"; filename="a.jsonl"',
    purpose: bytes = b"batch",
    more: bytes = b"",
) -> bytes:
    fields = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\n' + purpose + b"\r\n"
    return fields + more + b"--b\r\ncontent-disposition: " + disposition + b"\r\n\r\n" + file + b"\r\n--b--\r\n"


FORM: dict[str, bytes | str] = {"content-type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("nasty")
    key = add_key(folder / "keys.txt", "alice")
    embedder = Embedder(MODEL)
    store = create_store(f"lance://{folder}/things", Space(MODEL, embedder.fingerprint, embedder.dims))
    store.upsert(
        ["1", "2"],
        embedder.embed(["tea", "coffee"]),
        [{"text": "tea", "score": 1.5}, {"text": "coffee", "score": math.nan}],
    )
    store.close()
    limits = Limits(max_body_bytes=2 * MEGABYTE, max_key_batches=10**6)
    stores = {"things": f"lance://{folder}/things"}
    reranker = Reranker(str(make_folder(folder / "reranker", "bert", load_golden()["bert"])), name=MODEL)
    with run_server(
        keys=KeyFile(folder / "keys.txt"),
        state=folder / "state",
        limits=limits,
        stores=stores,
        rerankers=Rerankers({MODEL: reranker}),
    ) as address:
        target = Target(address, key)
        yield target
        target.close()


class Operations:
    """The operations of the OpenAPI description, with a valid request for each."""

    def __init__(self, target: Target) -> None:
        _, self.description = target.request("GET", "/openapi.json")
        status, file = target.request("POST", "/v1/files", form(LINE + b"\n"), FORM)
        assert status == 200
        self._valid = {
            "model": MODEL, "store": "things", "query": "tea", "where": "score >= 1", "vector": None, "input_file_id": file["id"],
            "file_id": file["id"], "metadata": {"a": "b"}, "dimensions": None, "encoding_format": "float", "purpose": "batch",
            "order": "asc", "limit": 5, "n": 1, "input_type": "query", "task": None, "prompt_name": None,
        }  # fmt: skip
        batch = self._valid | {"endpoint": "/v1/embeddings", "completion_window": "24h"}
        fields = ("input_file_id", "endpoint", "completion_window")
        status, created = target.json("POST", "/v1/batches", {name: batch[name] for name in fields})
        assert status == 200
        self._valid["batch_id"] = created["id"]

    def __iter__(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, item in self.description["paths"].items():
            for method, operation in item.items():
                yield method.upper(), path, operation

    def path(self, path: str, **values: str) -> str:
        """Return a path with its parameters replaced by percent-encoded values, or by valid ones."""
        for name in self.parameters(path):
            path = path.replace("{" + name + "}", values.get(name, str(self._valid.get(name))))
        return "/v1/models/" + path.removeprefix("/v1/models/") if path.startswith("/v1/models/") else path

    @staticmethod
    def parameters(path: str) -> list[str]:
        return re.findall(r"{(\w+)}", path)

    def example(self, schema: dict[str, Any], name: str = "") -> Any:
        """Return a valid value of a schema."""
        if "$ref" in schema:
            schema = self.description["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if name in self._valid:
            return self._valid[name]
        if "const" in schema:
            return schema["const"]
        if "anyOf" in schema:
            return self.example(schema["anyOf"][0])
        if "oneOf" in schema:
            return self.example(schema["oneOf"][-1] if name == "output_expires_after" else schema["oneOf"][0])
        value_type = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
        if value_type == "object":
            return {each: self.example(inner, each) for each, inner in schema.get("properties", {}).items()}
        if value_type == "array":
            return [self.example(schema["items"])]
        return {"string": "x", "integer": schema.get("minimum", 1), "boolean": True}[value_type]

    def body(self, operation: dict[str, Any]) -> Any:
        """Return a valid JSON body, or None."""
        content = operation.get("requestBody", {}).get("content", {})
        return self.example(content["application/json"]["schema"]) if "application/json" in content else None


def mutations(value: Any, fragment: bytes) -> Iterator[bytes]:
    """Return JSON texts in which a fragment replaces the value or one of its parts, or is added as a key."""

    def each(part: Any) -> Iterator[Any]:
        yield "@@"
        if isinstance(part, dict):
            yield {**part, "@@": "x"}
            for name, inner in part.items():
                for changed in each(inner):
                    yield {**part, name: changed}

    for changed in each(value):
        yield json.dumps(changed).encode().replace(b'"@@"', fragment)


def position_matters(fragment: bytes) -> bool:
    """Return whether the position of a fragment matters. Invalid JSON is rejected before fields are validated."""
    try:
        read_json(fragment)
    except ValueError:
        return b"\\u" in fragment  # lone surrogates are replaced in embedded texts
    return True


@pytest.fixture(scope="module")
def operations(target: Target) -> Operations:
    return Operations(target)


def test_unchanged_requests_are_valid(target: Target, operations: Operations) -> None:
    answers = {}
    for method, path, operation in sorted(operations, key=lambda one: (one[0] == "DELETE", one[1])):
        body = operations.body(operation)
        if body is not None:
            answers[method, path] = target.json(method, operations.path(path), body)[0]
        elif path == "/v1/files" and method == "POST":
            answers[method, path] = target.request(method, path, form(LINE), FORM)[0]
        elif path.endswith("/cancel"):
            answers[method, path] = target.request(method, operations.path(path))[0]
            assert answers.pop((method, path)) in (200, 400)  # the batch may be finished
        elif method == "GET":
            query_parameters = [
                one for one in operation.get("parameters", ()) if one["in"] == "query" and one["name"] != "after"
            ]
            query = "&".join(
                f"{one['name']}={operations.example(one['schema'], one['name'])}" for one in query_parameters
            )
            answers[method, path] = target.request(method, f"{operations.path(path)}?{query}")[0]
    assert {one for one, status in answers.items() if status != 200} == set()
    assert len(answers) + 2 == len(list(operations)), "a route has a type of request that this test does not send"


def test_mutated_json_bodies_never_cause_a_server_error(target: Target, operations: Operations) -> None:
    statuses = Counter[int]()
    for method, path, operation in operations:
        body = operations.body(operation)
        if body is None:
            continue
        for fragment in (*STRINGS, *OTHERS):
            for content in (
                mutations(body, fragment)
                if position_matters(fragment)
                else [fragment, *list(mutations(body, fragment))[-1:]]
            ):
                status, _ = target.request(method, operations.path(path), content, {"content-type": "application/json"})
                statuses[status] += 1
    assert statuses[200] > 50
    assert statuses[400] > 500
    assert set(statuses) <= {200, 400, 404, 413}
    assert_healthy(target)


def test_lone_surrogates_are_accepted_only_in_embedded_texts(target: Target) -> None:
    def status(path: str, content: bytes) -> int:
        return target.request("POST", path, content, {"content-type": "application/json"})[0]

    for text in (b'"\\ud800"', b'["x", "\\ude00\\ud83d y"]'):
        assert status("/v1/embeddings", b'{"model": "umekomi-fake", "input": %b}' % text) == 200
    assert status("/v1/search", b'{"store": "things", "query": "\\udfff"}') == 200
    for body in (b'{"input": "x", "model": "\\ud800"}', b'{"input": "x", "model": "umekomi-fake", "user": "\\ud800"}',
                 b'{"input": "\\ud800", "model": "umekomi-fake", "\\ud800": 1}'):  # fmt: skip
        assert status("/v1/embeddings", body) == 400
    good, replaced = (
        target.json("POST", "/v1/embeddings", {"model": MODEL, "input": text}) for text in ("a\ufffdb", "a\ud800b")
    )
    assert good == replaced
    batch = b'{"input_file_id": "x", "endpoint": "/v1/embeddings", "completion_window": "24h", "metadata": {%b}}'
    for metadata in (b'"a": "\\ud800"', b'"\\udc00": "x"', b'"a": "\xed\xa0\x80"'):
        assert status("/v1/batches", batch % metadata) == 400
    assert_healthy(target)


def test_mutated_forms_never_cause_a_server_error(target: Target) -> None:
    statuses = Counter[int]()
    values = (*BYTES, *(text.strip(b'"') for text in STRINGS[:5]))
    for value in values:
        safe = value.replace(b"\r", b"").replace(b"\n", b"")
        names = [b'form-data; name="file"; filename="%b"' % safe, b"form-data; name=file; filename*=utf-8''%b" % safe,
                 b'form-data; name="%b"; filename="x"' % safe, b"form-data; name=%b" % safe, safe]  # fmt: skip
        more = [
            b'--b\r\ncontent-disposition: form-data; name="%b"\r\n\r\nx\r\n' % name
            for name in (safe, b"expires_after[%b]" % safe)
        ]
        more += [b'--b\r\ncontent-disposition: form-data; name="expires_after[%b]"\r\n\r\n%b\r\n' % (name, value)
                 for name in (b"anchor", b"seconds")]  # fmt: skip
        more += [b"--b\r\n%b: x\r\n\r\nx\r\n" % safe, b"--b\r\ncontent-type: %b\r\n\r\nx\r\n" % safe]
        bodies = [*(form(b"x", disposition=name) for name in names), *(form(b"x", more=part) for part in more),
                  form(b"x", purpose=value), value, form(value)[:-7]]  # fmt: skip
        for body in bodies:
            status, file = target.request("POST", "/v1/files", body, FORM)
            statuses[status] += 1
            if status == 200:
                assert target.request("GET", f"/v1/files/{file['id']}")[0] == 200
                assert target.request("GET", f"/v1/files/{file['id']}/content")[0] == 200
    assert statuses[200] > 20
    assert set(statuses) <= {200, 400}
    assert_healthy(target)


def test_mutated_paths_and_queries_never_cause_a_server_error(target: Target, operations: Operations) -> None:
    for method, path, operation in operations:
        for value in BYTES:
            encoded = quote(value, safe="")
            for name in operations.parameters(path):
                assert target.request(method, operations.path(path, **{name: encoded}))[0] in (400, 404, 405)
            query_parameters = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            for name in (*query_parameters, encoded, "other"):
                target.request(method, f"{operations.path(path)}?{name}={encoded}&{name}")
    assert_healthy(target)


def test_mutated_headers_never_cause_a_server_error(target: Target, operations: Operations) -> None:
    for route_index, (method, path, operation) in enumerate(operations):
        body = operations.body(operation)
        content_headers = {"content-type": "application/json"} if body is not None else {}
        content = json.dumps(body).encode() if body is not None else b""
        for name, values in HEADERS.items():
            # Each route gets a third of the values, because most headers are read by shared code.
            for value in values if "content" in path else values[route_index % 3 :: 3]:
                target.request(method, operations.path(path), content, {**content_headers, name: value})
    assert_healthy(target)


def test_mutated_batch_lines_never_cause_a_server_error(target: Target) -> None:
    """Every value is used as id, text and model of a request, in a batch of one request."""
    batches = {}
    for fragment in (*STRINGS, *OTHERS):
        if len(fragment) > 100_000:
            continue
        for changed in (
            LINE.replace(b'"tea"', fragment),
            LINE.replace(b'"first"', fragment),
            LINE.replace(b'"umekomi-fake"', fragment),
        ):
            _, file = target.request("POST", "/v1/files", form(changed), FORM)
            new = {"input_file_id": file["id"], "endpoint": "/v1/embeddings", "completion_window": "24h"}
            batches[target.json("POST", "/v1/batches", new)[1]["id"]] = changed
    outcomes = Counter[str]()
    for batch_id, content in batches.items():
        while (batch := target.request("GET", f"/v1/batches/{batch_id}")[1])["status"] not in ("completed", "failed"):
            time.sleep(0.01)
        outcomes[batch["status"]] += 1
        if batch["status"] == "failed":
            assert batch["errors"]["data"], content
        for file_id in (batch["output_file_id"], batch["error_file_id"]):
            if file_id:
                _, rows = target.request("GET", f"/v1/files/{file_id}/content")
                assert [json.loads(row.decode("utf-8"))["error"] for row in rows.splitlines()] == [None]
    assert min(outcomes["completed"], outcomes["failed"]) > 10
    assert_healthy(target)


def assert_healthy(target: Target) -> None:
    """Assert that all lists can be read and that the server embeds texts."""
    for path in ("/v1/files", "/v1/batches?limit=100", "/v1/models", "/v1/engines", "/v1/stores", "/health", "/ready"):
        assert target.request("GET", path)[0] == 200
    assert target.json("POST", "/v1/embeddings", {"model": MODEL, "input": "tea"})[0] == 200
