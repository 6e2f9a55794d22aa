import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from umekomi.encoders.transformer.batching import BUCKET, padded_lengths, plan_batches


@given(st.lists(st.integers(1, 600), max_size=200), st.integers(1, 5000))
def test_every_text_is_in_one_batch_of_one_bucket_within_the_maximum_size(lengths: list[int], max_tokens: int) -> None:
    batches = list(plan_batches(lengths, max_tokens=max_tokens))
    padded = padded_lengths(np.array(lengths, dtype=np.int64))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        buckets = {int(padded[index]) for index in batch}
        assert len(buckets) == 1
        assert len(batch) == 1 or len(batch) * buckets.pop() <= max_tokens


@given(st.integers(1, 10_000))
def test_a_bucket_ends_at_the_next_multiple(length: int) -> None:
    padded = int(padded_lengths(np.array([length]))[0])
    assert length <= padded < length + BUCKET
    assert padded % BUCKET == 0
