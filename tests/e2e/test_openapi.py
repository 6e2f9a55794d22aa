"""schemathesis checks that every response conforms to the OpenAPI description.

``UMEKOMI_TEST_SCHEMATHESIS`` is the path of the command ``schemathesis`` (``tests/schemathesis.txt`` in a separate environment).
"""

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest
from tests.conftest import Run, unavailable
from tests.serve.test_command import served

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance"
)


@pytest.mark.slow
def test_all_routes_conform_to_their_description(umekomi: Run, tmp_path: Path) -> None:
    command = os.environ.get("UMEKOMI_TEST_SCHEMATHESIS")
    if not command:
        unavailable("UMEKOMI_TEST_SCHEMATHESIS does not name the command schemathesis")
    (tmp_path / "in.jsonl").write_text('{"text": "one bean", "stars": 3}\n{"text": "two peas", "stars": 4}\n')
    assert umekomi("embed", "in.jsonl", "-o", "out.parquet", "-m", "umekomi-fake").returncode == 0
    options = ["--state", str(tmp_path / "state"), "--store", f"beans={tmp_path / 'out.parquet'}"]
    with served(*options) as (server, url):
        root = url.removesuffix("/v1")
        description = httpx.get(f"{root}/openapi.json").json()
        # Use names that exist, so that not all generated requests are rejected.
        schemas = description["components"]["schemas"]
        for request in ("EmbeddingsRequest", "EngineEmbeddingsRequest"):
            schemas[request]["properties"]["model"] = {"enum": ["umekomi-fake"]}
        schemas["SearchRequest"]["properties"]["store"] = {"enum": ["beans"]}
        (tmp_path / "openapi.json").write_text(json.dumps(description))
        result = subprocess.run(
            [command, "run", "openapi.json", "--url", root, "--checks", CHECKS, "--mode", "all",
             "--max-examples", "40", "--seed", "1",
             "--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--no-color"],
            cwd=tmp_path, capture_output=True, text=True, timeout=540,
        )  # fmt: skip
        assert server.poll() is None
    assert "generated" in result.stdout
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
