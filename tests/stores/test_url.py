"""Store URLs: parameters, names, and hidden secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from umekomi.data.embedded_file import Space
from umekomi.errors import InputError
from umekomi.stores import SCHEMES, create_store, open_store
from umekomi.stores.errors import unavailable_error
from umekomi.stores.url import Address, EngineSpec, Quantization, StoreOptions, parse_address

ENGINE = EngineSpec(
    "nowhere",
    options=("m", "ef", "exact", "quantization", "shards"),
    quantizations=("int8",),
    parameters=("tls",),
    environment="KEY",
    has_databases=True,
    default_port=6379,
)
SECRET = "p@ss/w?rd#"
QUOTED = "p%40ss%2Fw%3Frd%23"


def parse(url: str, **secrets: str) -> Address:
    return parse_address(url, ENGINE, secrets)


def test_a_url_is_parsed() -> None:
    address = parse(f"x://user:{QUOTED}@host:77/folder/reviews?m=32&quantization=int8&exact=true&timeout=2.5&tls=true")
    assert (address.user, address.secret, address.host, address.port) == ("user", SECRET, "host", 77)
    assert (address.path, address.name, address.timeout_s, address.tls) == ("folder/reviews", "reviews", 2.5, True)
    assert address.options == StoreOptions(m=32, quantization=Quantization.INT8, exact=True)
    assert parse("x://host/a").port == 6379
    assert parse("x://[::1]:5/a").host == "::1"
    assert parse("x:///a").host == "127.0.0.1"


def test_the_url_without_its_secret_names_the_same_collection() -> None:
    address = parse(f"x://user:{QUOTED}@host:77/reviews?m=32&tls=true")
    assert address.url == "x://user@host:77/reviews?tls=true"
    reparsed = parse(address.url, KEY=SECRET)
    assert reparsed.secret == SECRET
    assert (reparsed.user, reparsed.host, reparsed.name, reparsed.tls) == (
        address.user,
        address.host,
        address.name,
        address.tls,
    )


@pytest.mark.parametrize("url", [f"x://:{QUOTED}@h/a", f"x://h/a?api_key={QUOTED}", f"x://h/a?password={QUOTED}"])
def test_secrets_are_never_shown(url: str) -> None:
    address = parse(url)
    assert address.secret == SECRET
    for shown in (address.url, repr(address), str(address), address.redact(f"cannot reach {SECRET} or {QUOTED}")):
        assert SECRET not in shown
        assert QUOTED not in shown


def test_the_secret_of_the_environment_applies_to_urls_without_one() -> None:
    assert parse("x://h/a", KEY="k").secret == "k"
    assert parse("x://:own@h/a", KEY="k").secret == "own"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("x://h/a?nope=1", "'nope'.*m, ef, exact"),
        ("x://h/a?replicas=2", "'replicas'"),
        ("x://h/a?m=many", "m=many"),
        ("x://h/a?m=1", "from 2"),
        ("x://h/a?m=-3", "m=-3"),
        ("x://h/a?ef=99999999999999999999", "integer"),
        ("x://h/a?exact=perhaps", "exact=perhaps"),
        ("x://h/a?quantization=binary", "none, int8"),
        ("x://h/a?timeout=0", "timeout=0"),
        ("x://h/a?timeout=nan", "timeout=nan"),
        ("x://:pass/word@h/a", "@ after the server"),
        ("x://:pass?word@h/a", "@ after the server"),
    ],
)
def test_invalid_parameters_are_rejected_without_showing_secrets(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse(url)
    assert "pass" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("url", ["x://host", "x://host/", "x://host/a b", "x://host/é", "x://host/" + "a" * 201])
def test_an_invalid_collection_name_is_rejected(url: str) -> None:
    with pytest.raises(InputError, match="collection"):
        _ = parse(url).name


def test_a_path_with_too_many_parts_is_rejected() -> None:
    assert parse("x://host/database/a").name == "a"
    with pytest.raises(InputError, match="collection"):
        _ = parse("x://host/more/database/a").name
    with pytest.raises(InputError, match="collection"):
        _ = parse_address("x://host/database/a", EngineSpec("nowhere"), {}).name


INVALID_NAMES = [".", "..", "...", ".hidden", "a\nb", "a\x1bb", "a\0b", "a b", "é", "%2e%2e", "a" * 201]


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("name", INVALID_NAMES)
def test_every_engine_rejects_invalid_names(scheme: str, name: str, tmp_path: Path) -> None:
    if scheme == "qdrant-edge":
        pytest.importorskip("qdrant_edge")
    elif scheme not in ("memory", "lance"):
        pytest.importorskip(
            {"postgresql": "psycopg", "rediss": "redis", "milvus": "pymilvus", "qdrant": "qdrant_client"}.get(
                scheme, scheme
            )
        )
    folder = tmp_path / "folder"
    base = f"{scheme}://{folder}" if SCHEMES[scheme].embedded else f"{scheme}://127.0.0.1:1"
    url = f"pinecone://{name}?api_key=k" if scheme == "pinecone" else f"{base}/{name}"
    for call in (open_store, lambda url: create_store(url, Space("umekomi-fake", "0" * 16, 4))):
        with pytest.raises(InputError, match=r"names (a|an|no) (collection|index)"):
            call(url)
    assert not folder.exists()


def test_opening_uses_the_timeout_of_the_url() -> None:
    assert (parse("x://h/a").open_timeout_s, parse("x://h/a").timeout_s) == (2.0, 10.0)
    assert (parse("x://h/a?timeout=30").open_timeout_s, parse("x://h/a?timeout=30").timeout_s) == (30.0, 30.0)
    assert "currently 10, and 2 while opening" in str(unavailable_error(parse("x://h/a"), "refused"))
    assert "currently 30)" in str(unavailable_error(parse("x://h/a?timeout=30"), "refused"))


def test_the_options_of_a_collection_cannot_change() -> None:
    stored = StoreOptions(m=16, quantization=Quantization.INT8)
    assert StoreOptions.from_dict(stored.to_dict()) == stored
    assert StoreOptions(m=16, ef_search=90).merge_over(stored, "u") == StoreOptions(
        m=16, ef_search=90, quantization=Quantization.INT8
    )
    assert StoreOptions(exact=False).merge_over(stored, "u").m == 16
    with pytest.raises(InputError, match=r"m=16.*store copy"):
        StoreOptions(m=32).merge_over(stored, "u")
