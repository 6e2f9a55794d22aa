"""D6 of the design: the same text gives the same bytes, whatever is encoded beside it, before it or at the same time."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from umekomi.encoders.transformer.encoder import TransformerEncoder
from umekomi.encoders.transformer.sentence_transformers import load_folder
from umekomi.settings import Settings

from .tiny import WORDS, make_folder

MODES = [
    pytest.param(precision, streams, threads, id=f"{precision}-{streams}streams-{threads}threads")
    for precision in ("fp32", "bf16", "auto")
    for streams, threads in ((1, 1), (1, 2), (2, 2))
]
Load = Callable[..., TransformerEncoder]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    folder = make_folder(tmp_path_factory.mktemp("models") / "mpnet", "mpnet")
    usual = Settings(cache=folder / "cache", offline=True)

    def loaded(**changed: object) -> TransformerEncoder:
        encoder, _ = load_folder(str(folder), replace(usual, **changed))  # type: ignore[arg-type]
        return encoder

    return loaded


def some_texts(seed: int, count: int) -> list[str]:
    """Texts of 1 to 90 tokens: of every bucket of the tiny model, and longer than its window of 38."""
    choose = random.Random(seed)
    return [" ".join(choose.choices(WORDS, k=choose.randint(1, 90))) for _ in range(count)]


@pytest.mark.parametrize(("precision", "streams", "threads"), MODES)
def test_a_text_has_the_same_bytes_among_random_neighbours_in_batches_of_any_size_and_from_several_threads(
    load: Load, precision: str, streams: int, threads: int
) -> None:
    how = {"precision": precision, "streams": streams, "threads": threads}
    texts = some_texts(1, 40)
    encoder = load(**how)
    alone = {text: encoder.encode([text])[0].tobytes() for text in texts}

    def among_others(seed: int, one: TransformerEncoder) -> list[str]:
        choose = random.Random(seed)
        some = choose.choices(texts, k=choose.randint(1, 60))
        vectors = one.encode(some)
        return [text for text, vector in zip(some, vectors, strict=True) if vector.tobytes() != alone[text]]

    for budget in (1, 57, 300, 100_000):
        sized = load(**how, batch_tokens=budget)
        assert [among_others(seed, sized) for seed in range(4)] == [[]] * 4
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda seed: among_others(seed, encoder), range(24))) == [[]] * 24


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_threads_and_streams_do_not_change_the_bytes(load: Load, precision: str) -> None:
    texts = some_texts(2, 60)
    found = {
        load(precision=precision, streams=streams, threads=threads).encode(texts).tobytes()
        for streams, threads in ((1, 1), (1, 2), (2, 2))
    }
    assert len(found) == 1


def test_a_call_that_is_abandoned_gives_its_requests_back(load: Load) -> None:
    encoder = load(streams=2, threads=2, batch_tokens=1)
    texts = some_texts(3, 20)

    class StopError(Exception):
        pass

    def stop(count: int) -> None:
        raise StopError

    usual = encoder.encode(texts)
    for _ in range(5):
        with pytest.raises(StopError):
            encoder.encode(texts, progress=stop)
    assert np.array_equal(encoder.encode(texts), usual)


def test_precision_threads_streams_and_budget_are_not_of_the_space(load: Load) -> None:
    identities = [
        load(precision=precision, streams=streams, batch_tokens=budget).identity()
        for precision in ("fp32", "bf16")
        for streams, budget in ((1, 2048), (2, 64))
    ]
    assert all(identity == identities[0] for identity in identities)


def test_lengths_are_of_the_pieces_with_their_special_tokens(load: Load) -> None:
    assert load().lengths(["one", "one two three", "one " * 50]) == [3, 5, 38, 16]
