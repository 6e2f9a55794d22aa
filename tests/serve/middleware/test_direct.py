"""The shortcut past the router gives the same responses, metrics and description as a route of the router."""

import httpx

from ..conftest import MODEL, Serving


def test_requests_that_the_shortcut_answers_are_counted_by_route(serving: Serving) -> None:
    with serving() as address:
        assert httpx.post(f"{address}/embeddings", json={"model": MODEL, "input": "a bean"}).status_code == 200
        error = httpx.post(f"{address}/embeddings", json={"model": "unknown", "input": "a bean"})
        assert (error.status_code, error.json()["error"]["code"]) == (404, "model_not_found")
        lines = httpx.get(f"{address.removesuffix('/v1')}/metrics").text.splitlines()
    counters = [line for line in lines if line.startswith("umekomi_requests_total")]
    assert [line for line in counters if 'route="/v1/embeddings"' in line] == [
        'umekomi_requests_total{method="POST",route="/v1/embeddings",status="200"} 1',
        'umekomi_requests_total{method="POST",route="/v1/embeddings",status="404"} 1',
    ]


def test_other_methods_and_paths_reach_the_router(serving: Serving) -> None:
    with serving() as address:
        assert httpx.get(f"{address}/embeddings").status_code == 405
        assert httpx.post(f"{address}/embeddings/", json={}).status_code == 404
        schema = httpx.get(f"{address.removesuffix('/v1')}/openapi.json").json()
    assert "/v1/embeddings" in schema["paths"]
