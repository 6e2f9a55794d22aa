"""The role of a text over HTTP, by the names of other APIs, and the aliases of models."""

import httpx
import numpy as np
import pytest

from tests.encoders.transformer.tiny import make_folder
from umekomi import Embedder
from umekomi.catalog import Catalog, Role
from umekomi.errors import InputError
from umekomi.serve.errors import RequestError
from umekomi.serve.models import Models
from umekomi.serve.schemas.input_types import INPUT_TYPES, resolve_role

from .conftest import MODEL, Serving

PROMPTS = '{"prompts": {"query": "query: ", "passage": "passage: ", "clustering": "three: "}}'


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """A tiny model with prompts."""
    folder = make_folder(tmp_path_factory.mktemp("models") / "tiny", "bert")
    (folder / "config_sentence_transformers.json").write_text(PROMPTS)
    return Embedder(str(folder))


def vector_of(address: str, **fields: object) -> np.ndarray:
    response = httpx.post(f"{address}/embeddings", json={"model": MODEL, "input": "one two", **fields}, timeout=60)
    assert response.status_code == 200, response.text
    return np.array([response.json()["data"][0]["embedding"]], np.float32)


def test_names_of_other_apis_select_the_role(serving: Serving, tiny: Embedder) -> None:
    query, document = (tiny.embed(["one two"], role=role) for role in (Role.QUERY, Role.DOCUMENT))
    plain, cluster = tiny.embed(["one two"]), tiny.embed(["three: one two"])
    with serving(load=lambda model: tiny) as address:
        for fields, expected in [
            ({"input_type": "search_query"}, query),  # Cohere
            ({"input_type": "search_document"}, document),
            ({"input_type": "query"}, query),  # Voyage, NVIDIA
            ({"input_type": "passage"}, document),
            ({"task": "retrieval.query"}, query),  # Jina
            ({"task": "text-matching"}, plain),
            ({"task": "RETRIEVAL_DOCUMENT"}, document),  # Google
            ({"prompt_name": "passage"}, document),  # sentence-transformers
            ({"prompt_name": "clustering"}, cluster),
            ({"input_type": "clustering"}, cluster),  # a prompt of the model has priority
            ({"input_type": "classification"}, plain),
            ({"input_type": None}, plain),
        ]:
            assert (vector_of(address, **fields) == expected).all(), fields


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"input_type": "poem"},
            "input_type",
            "Supported values are: 'query', 'document', 'passage', 'clustering', 'search_query', 'search_document', ",
        ),
        ({"prompt_name": ""}, "prompt_name", "cannot be an empty string"),
        ({"task": 3}, "task", "expected a string"),
        ({"task": "x" * 65}, "task", "string too long"),
        ({"task": "separation", "input_type": "query"}, "task", "Give only one of 'input_type' and 'task'"),
    ],
)
def test_invalid_roles_are_a_clear_error(
    serving: Serving, tiny: Embedder, fields: dict[str, object], param: str, message: str
) -> None:
    with serving(load=lambda model: tiny) as address:
        response = httpx.post(f"{address}/embeddings", json={"model": MODEL, "input": "x", **fields}, timeout=60)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert message in error["message"]


def test_a_model_of_a_pair_rejects_the_other_role(serving: Serving, pair_catalog: Catalog) -> None:
    def load(model: str) -> Embedder:
        return Embedder(model, catalog=pair_catalog)

    with serving(load=load, catalog=pair_catalog) as address:
        body = {"model": "fake-query", "input": "x", "input_type": "search_document"}
        response = httpx.post(f"{address}/embeddings", json=body, timeout=60)
    assert response.status_code == 400
    assert "its counterpart, fake-doc" in response.json()["error"]["message"]


def test_every_input_type_is_a_role_or_none() -> None:
    for name, role in INPUT_TYPES.items():
        assert resolve_role(name.upper(), field="task", prompts={}) == role
    with pytest.raises(RequestError):
        resolve_role("poem", field="task", prompts={"poetry": ""})


def test_an_alias_hides_a_model_of_the_same_name() -> None:
    models = Models(aliases={"text-embedding-3-small": MODEL, "best": MODEL}, only=[MODEL])
    assert [card.id for card in models.listed] == [MODEL, "text-embedding-3-small", "best"]
    assert models.card("text-embedding-3-small").dimensions == 64
    assert models.get_loaded("best") is None
    models.preload([MODEL])
    assert models.get_loaded("best") is models.get_loaded(MODEL) is models.get_loaded("text-embedding-3-small")


def test_a_library_model_names_its_prompts_in_errors(tiny: Embedder) -> None:
    assert (tiny.embed(["one"], role="clustering") == tiny.embed(["three: one"])).all()
    with pytest.raises(InputError, match="has no role 'poem'; use 'query' or 'document' or 'passage' or 'clustering'"):
        tiny.embed(["one"], role="poem")
