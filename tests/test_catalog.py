import pytest

from umekomi.catalog import DEFAULT_MODEL, Role, load_catalog, parse_catalog
from umekomi.errors import InputError, ModelNotFoundError


def test_the_default_model_is_as_the_guide_says() -> None:
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


def test_an_unknown_id_names_the_nearest() -> None:
    with pytest.raises(ModelNotFoundError, match="Similar: text-embedding-ada-002"):
        load_catalog().model("text-embeding-ada-2")


def test_every_asset_has_a_hash_a_license_and_a_source() -> None:
    for asset in load_catalog().assets.values():
        assert len(asset.sha256) == 64
        assert asset.size > 0
        assert asset.license
        assert asset.sources
        assert all("==" in requirement for source in asset.sources for requirement in source.requirements)


def test_parts_that_do_not_add_up_are_refused() -> None:
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
def test_a_model_of_the_first_generation_is_as_the_guide_says(model: str) -> None:
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
def test_the_halves_of_a_pair_are_one_space(model: str) -> None:
    catalog = load_catalog()
    card = catalog.model(model)
    other = catalog.model(card.pair)
    assert card.role is (Role.QUERY if model.endswith(("query-001", "text-001")) else Role.DOCUMENT)
    assert {card.role, other.role} == {Role.QUERY, Role.DOCUMENT}
    assert (other.pair, other.space, other.parts) == (card.id, card.space, card.parts)
    assert catalog.counterpart(model, Role.QUERY) in (card.id, other.id)
    assert catalog.model(catalog.counterpart(model, Role.QUERY)).role is Role.QUERY


def test_the_half_of_a_model_without_a_direction_is_so_too() -> None:
    half = load_catalog().counterpart("text-search-ada-doc-001,without=gender", Role.QUERY)
    assert half == "text-search-ada-query-001,without=gender"


def test_the_third_generation_can_shorten() -> None:
    for model, dimensions in (("text-embedding-3-small", 1536), ("text-embedding-3-large", 3072)):
        card = load_catalog().model(model)
        assert (card.dimensions, card.can_shorten, card.max_tokens) == (dimensions, True, 8191)


def test_halves_that_do_not_fit_are_refused() -> None:
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
