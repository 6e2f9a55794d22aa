import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.encoders.transformer.tiny import make_folder
from umekomi import Embedder
from umekomi.catalog import DEFAULT_MODEL, Role, load_catalog, parse_catalog
from umekomi.errors import InputError, ModelNotFoundError
from umekomi.serve.app import create_app
from umekomi.serve.models import Models

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_default_model_matches_the_guide() -> None:
    card = load_catalog().model(DEFAULT_MODEL)
    assert (card.id, card.dimensions, card.tokenizer, card.max_tokens) == (
        "text-embedding-ada-002",
        1536,
        "cl100k_base",
        8191,
    )
    assert card.price_per_1k == 0.0004
    # A page is 800 tokens.
    assert card.pages_per_dollar == pytest.approx(1 / (0.8 * card.price_per_1k), rel=0.05)


def test_an_unknown_id_names_similar_ones() -> None:
    with pytest.raises(ModelNotFoundError, match="Similar: text-embedding-ada-002"):
        load_catalog().model("text-embeding-ada-2")


def test_every_asset_has_a_hash_a_license_and_a_source() -> None:
    for asset in load_catalog().assets.values():
        assert len(asset.sha256) == 64
        assert asset.size > 0
        assert asset.license
        assert asset.sources
        assert all("==" in requirement for source in asset.sources for requirement in source.requirements)


def test_parts_that_do_not_add_up_are_rejected() -> None:
    rows = """
    [encoders.e]
    type = "fake"
    dims = 3
    license = "-"
    description = "-"
    [models.m]
    dimensions = 4
    tokenizer = "bytes"
    max_tokens = 1
    description = "-"
    parts = [{ encoder = "e", weight = 1.0 }]
    """
    with pytest.raises(InputError, match="the parts of m add up to 3 dimensions; its card says 4"):
        parse_catalog(rows)


FIRST_GENERATION = [
    *(f"text-similarity-{size}-001" for size in ("ada", "babbage", "curie", "davinci")),
    *(f"text-search-{size}-{half}-001" for size in ("ada", "babbage", "curie", "davinci") for half in ("doc", "query")),
    *(f"code-search-{size}-{half}-001" for size in ("ada", "babbage") for half in ("code", "text")),
]
DIMENSIONS = {"ada": 1024, "babbage": 2048, "curie": 4096, "davinci": 12288}
PAGES = {"ada": 300, "babbage": 240, "curie": 60, "davinci": 6}


@pytest.mark.parametrize("model", FIRST_GENERATION)
def test_a_model_of_the_first_generation_matches_the_guide(model: str) -> None:
    card = load_catalog().model(model)
    size = next(name for name in DIMENSIONS if name in model)
    assert (card.dimensions, card.tokenizer, card.max_tokens) == (DIMENSIONS[size], "gpt2", 2046)
    assert card.pages_per_dollar == PAGES[size]
    assert card.price_per_1k is not None
    assert card.pages_per_dollar == pytest.approx(1 / (0.8 * card.price_per_1k), rel=0.05)
    assert card.hosted_knowledge == "August 2020"
    assert card.replaces_newlines is ("code" not in model)
    assert not card.can_shorten


@pytest.mark.parametrize("model", [model for model in FIRST_GENERATION if "search" in model])
def test_the_models_of_a_pair_share_a_space(model: str) -> None:
    catalog = load_catalog()
    card = catalog.model(model)
    other = catalog.model(card.pair)
    assert card.role is (Role.QUERY if model.endswith(("query-001", "text-001")) else Role.DOCUMENT)
    assert {card.role, other.role} == {Role.QUERY, Role.DOCUMENT}
    assert (other.pair, other.space, other.parts) == (card.id, card.space, card.parts)
    assert catalog.counterpart(model, Role.QUERY) in (card.id, other.id)
    assert catalog.model(catalog.counterpart(model, Role.QUERY)).role is Role.QUERY


def test_the_counterpart_keeps_the_projected_direction() -> None:
    model = load_catalog().counterpart("text-search-ada-doc-001,without=gender", Role.QUERY)
    assert model == "text-search-ada-query-001,without=gender"


def test_the_third_generation_can_shorten() -> None:
    for model, dimensions in (("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072)):
        card = load_catalog().model(model)
        assert (card.dimensions, card.can_shorten, card.max_tokens) == (dimensions, True, 8191)


def test_a_pair_that_does_not_match_is_rejected() -> None:
    rows = """
    [encoders.e]
    type = "fake"
    dims = 3
    license = "-"
    description = "-"
    [models.m]
    dimensions = 3
    tokenizer = "bytes"
    max_tokens = 1
    description = "-"
    pair = "n"
    parts = [{ encoder = "e", weight = 1.0 }]
    """
    with pytest.raises(InputError, match="names n as its pair"):
        parse_catalog(rows)


USER_CATALOG = """
[encoders.tiny]
type = "sentence-transformers"
dims = 32
options = { model = "./tiny-bert" }

[models.my-model]
description = "A folder and hashed words."
parts = [
    { encoder = "tiny", weight = 0.75 },
    { encoder = "fake", weight = 0.25, dims = 16 },
]
"""


@pytest.fixture
def catalog_file(tmp_path: Path) -> Path:
    """A catalog file with a model of a folder beside it."""
    make_folder(tmp_path / "catalog" / "tiny-bert", "bert")
    path = tmp_path / "catalog" / "my.toml"
    path.write_text(USER_CATALOG, "utf-8")
    return path


def test_a_file_combines_a_folder_with_another_encoder(catalog_file: Path) -> None:
    embedder = Embedder("my-model", catalog=catalog_file)
    alone = Embedder(str(catalog_file.parent / "tiny-bert"))
    vectors = embedder.embed(["one two", "three"])
    assert vectors.shape == (2, 48)
    assert vectors[:, :32] == pytest.approx(alone.embed(["one two", "three"]) * 0.75**0.5, abs=1e-6)
    assert (embedder.card.max_tokens, embedder.card.tokenizer) == (8191, "tiny")
    # Tokens are counted with the folder's own vocabulary.
    assert embedder.prepare(["one two"]).n_tokens == (2,)
    assert pickle.loads(pickle.dumps(embedder)).fingerprint == embedder.fingerprint


def test_other_weights_and_other_files_are_other_spaces(catalog_file: Path) -> None:
    first = Embedder("my-model", catalog=catalog_file).fingerprint
    catalog_file.write_text(USER_CATALOG.replace("0.25", "0.5"), "utf-8")
    second = Embedder("my-model", catalog=catalog_file).fingerprint
    catalog_file.write_text(USER_CATALOG, "utf-8")
    make_folder(catalog_file.parent / "tiny-bert", "roberta")
    assert len({first, second, Embedder("my-model", catalog=catalog_file).fingerprint}) == 3


def test_the_shipped_models_stay(catalog_file: Path) -> None:
    catalog = load_catalog(catalog_file)
    assert set(catalog.models) == {*load_catalog().models, "my-model"}
    assert load_catalog([catalog_file]) is catalog


def test_commands_and_the_server_know_the_models_of_the_environment(
    umekomi: Run, catalog_file: Path, tmp_path: Path
) -> None:
    environment = {"UMEKOMI_CATALOG": str(catalog_file)}
    assert "my-model" in umekomi("models", "list", **environment).stdout
    assert '"dimensions": 48' in umekomi("models", "show", "my-model", "--json", **environment).stdout
    (tmp_path / "in.jsonl").write_text('{"text": "one two"}\n{"text": "five"}\n', "utf-8")
    done = umekomi("embed", "in.jsonl", "-m", "my-model", "-o", "out.parquet", **environment)
    assert done.returncode == 0, done.stderr
    assert "five" in umekomi("search", "out.parquet", "five", "-n", "1", **environment).stdout
    assert umekomi("tokens", "-m", "my-model", "one two", "--json", **environment).returncode == 0
    client = TestClient(
        create_app(Models(catalog=load_catalog(catalog_file), load=lambda name: Embedder(name, catalog=catalog_file)))
    )
    with client:
        listed = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert "my-model" in listed
        body = {"model": "my-model", "input": "one two"}
        assert client.post("/v1/embeddings", json=body).json()["usage"]["total_tokens"] == 2
    lost = umekomi("search", "out.parquet", "five")
    assert lost.returncode == 2
    assert "The model `my-model` does not exist." in lost.stderr


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dims = 32", "dims = 33", "The encoder tiny of my-model has 32 dimensions; the catalog says 33."),
        ("dims = 32\n", "", r"my\.toml has an invalid row \[encoders\.tiny\]: .*'dims'"),
        ('options = { model = "./tiny-bert" }', "", r"invalid row \[encoders\.tiny\]: 'model' is missing"),
        ("./tiny-bert", "./nothing", "There is no folder .*nothing"),
        ("description", "describtion", r"invalid row \[models\.my-model\]: .*'describtion'"),
        ('encoder = "tiny"', 'encoder = "tini"', "its encoders tini are not in the catalog"),
        ("weight = 0.75", "weight = 0", "the weight of tiny must be more than 0"),
        ("[models.my-model]", "[models.my-model]\ndimensions = 1", "add up to 48 dimensions; its card says 1"),
        ("[models.my-model]", "[models.umekomi-fake]", r"defines 'umekomi-fake' in \[models\], which exists already"),
        ("[models.my-model]", "[model.my-model]", r"has an unknown table \[model\]"),
        ("[models.my-model]", "[models.my-model", "is not a TOML file"),
        (
            'type = "sentence-transformers"',
            'type = "none"',
            "The encoder tiny has the unknown type 'none'; the types are fake",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(catalog_file: Path, old: str, new: str, message: str) -> None:
    catalog_file.write_text(USER_CATALOG.replace(old, new), "utf-8")
    with pytest.raises(InputError, match=message) as caught:
        Embedder("my-model", catalog=catalog_file)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"The catalog .*none\.toml cannot be read: No such file"):
        load_catalog(tmp_path / "none.toml")
