import pytest

from umekomi.catalog import DEFAULT_MODEL, load_catalog, parse_catalog
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
    with pytest.raises(ModelNotFoundError, match="Near it: text-embedding-ada-002"):
        load_catalog().model("text-embeding-ada-2")


def test_every_asset_has_a_hash_a_licence_and_a_source() -> None:
    for asset in load_catalog().assets.values():
        assert len(asset.sha256) == 64
        assert asset.size > 0
        assert asset.licence
        assert asset.sources
        assert all("==" in requirement for source in asset.sources for requirement in source.requirements)


def test_parts_that_do_not_add_up_are_refused() -> None:
    rows = """
    [encoders.e]
    kind = "fake"
    dims = 3
    licence = "-"
    description = "-"
    [models.m]
    dimensions = 4
    tokenizer = "bytes"
    max_tokens = 1
    description = "-"
    parts = [{ encoder = "e", weight = 1.0 }]
    """
    with pytest.raises(InputError, match="The parts of m add up to 3 dimensions; its card says 4"):
        parse_catalog(rows)
