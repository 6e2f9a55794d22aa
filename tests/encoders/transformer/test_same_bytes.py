"""Design D6: a text has the same bytes, whatever is encoded in the same batch, before it or at the same time."""

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from umekomi.encoders.transformer.encoder import TransformerEncoder
from umekomi.encoders.transformer.folder.sentence_transformers import load_folder
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
    base = Settings(cache=folder / "cache", offline=True)

    def loaded(**changed: object) -> TransformerEncoder:
        encoder, _ = load_folder(str(folder), replace(base, **changed))  # type: ignore[arg-type]
        return encoder

    return loaded


def random_texts(seed: int, count: int) -> list[str]:
    """Return texts of 1 to 90 tokens: for every bucket of the tiny model, and longer than its window of 38."""
    random_source = random.Random(seed)
    return [" ".join(random_source.choices(WORDS, k=random_source.randint(1, 90))) for _ in range(count)]


@pytest.mark.parametrize(("precision", "streams", "threads"), MODES)
def test_a_text_has_the_same_bytes_in_random_batches_of_every_size_and_from_several_threads(
    load: Load, precision: str, streams: int, threads: int
) -> None:
    options = {"precision": precision, "streams": streams, "threads": threads}
    texts = random_texts(1, 40)
    encoder = load(**options)
    alone = {text: encoder.encode([text])[0].tobytes() for text in texts}

    def find_differences(seed: int, one: TransformerEncoder) -> list[str]:
        random_source = random.Random(seed)
        batch = random_source.choices(texts, k=random_source.randint(1, 60))
        vectors = one.encode(batch)
        return [text for text, vector in zip(batch, vectors, strict=True) if vector.tobytes() != alone[text]]

    for batch_tokens in (1, 57, 300, 100_000):
        sized = load(**options, batch_tokens=batch_tokens)
        assert [find_differences(seed, sized) for seed in range(4)] == [[]] * 4
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda seed: find_differences(seed, encoder), range(24))) == [[]] * 24


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_threads_and_streams_do_not_change_the_bytes(load: Load, precision: str) -> None:
    texts = random_texts(2, 60)
    results = {
        load(precision=precision, streams=streams, threads=threads).encode(texts).tobytes()
        for streams, threads in ((1, 1), (1, 2), (2, 2))
    }
    assert len(results) == 1


def test_an_interrupted_call_releases_its_requests(load: Load) -> None:
    encoder = load(streams=2, threads=2, batch_tokens=1)
    texts = random_texts(3, 20)

    class StopError(Exception):
        pass

    def stop(count: int) -> None:
        raise StopError

    expected = encoder.encode(texts)
    for _ in range(5):
        with pytest.raises(StopError):
            encoder.encode(texts, progress=stop)
    assert np.array_equal(encoder.encode(texts), expected)


def test_the_space_does_not_depend_on_precision_streams_or_batch_size(load: Load) -> None:
    identities = [
        load(precision=precision, streams=streams, batch_tokens=batch_tokens).identity()
        for precision in ("fp32", "bf16")
        for streams, batch_tokens in ((1, 2048), (2, 64))
    ]
    assert all(identity == identities[0] for identity in identities)


def test_lengths_are_those_of_windows_with_special_tokens(load: Load) -> None:
    assert load().lengths(["one", "one two three", "one " * 50]) == [3, 5, 38, 16]
