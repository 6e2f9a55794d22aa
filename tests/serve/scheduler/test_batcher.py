"""The batcher: batches, waiting jobs, limits and cancellation."""

import asyncio
from collections.abc import Callable, Coroutine

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.embedder import Prepared
from umekomi.errors import OverloadedError, ShuttingDownError
from umekomi.serve.scheduler.batcher import Batcher

from ..conftest import RecordingEmbedder


def make_job(count: int, *, tokens: int, name: str = "text") -> Prepared:
    """Return a job of different texts with a number of tokens each. A token of the model is a byte."""
    strings = tuple(f"{name} {index} ".ljust(tokens, "x") for index in range(count))
    return Prepared(strings, tuple(len(text.encode()) for text in strings))


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), timeout=60))


async def wait_for_calls(embedder: RecordingEmbedder, calls: int = 1) -> None:
    while len(embedder.calls) < calls:
        await asyncio.sleep(0.001)


def test_waiting_jobs_share_batches_and_get_their_own_vectors(recorder: RecordingEmbedder, fake: Embedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=1000)
        recorder.gate.clear()
        jobs = [make_job(1 + index % 3, tokens=10 + index, name=f"job {index}") for index in range(20)]
        tasks = [asyncio.create_task(batcher.embed(recorder, job)) for job in jobs]
        await wait_for_calls(recorder)
        recorder.gate.set()
        for job, vectors in zip(jobs, await asyncio.gather(*tasks), strict=True):
            assert (vectors == fake.embed_texts(job.texts)).all()
        assert batcher.calls < 20
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)


def test_a_batch_respects_its_token_limit_unless_it_has_one_text(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=100)
        await batcher.embed(recorder, make_job(50, tokens=20))
        await batcher.embed(recorder, make_job(2, tokens=500))
        await batcher.close()

    run(work)
    sizes = [sum(map(len, call)) for call in recorder.calls]
    assert max(sizes[:-2]) <= 100
    assert sizes[-2:] == [500, 500]


def test_a_short_job_waits_only_for_the_running_batch(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=400, max_wait_seconds=600)
        recorder.gate.clear()
        long = [
            asyncio.create_task(batcher.embed(recorder, make_job(300, tokens=30, name=f"long {n}"))) for n in range(5)
        ]
        await wait_for_calls(recorder)
        short = asyncio.create_task(batcher.embed(recorder, make_job(1, tokens=20, name="short")))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await short
        assert not any(task.done() for task in long)
        await asyncio.gather(*long)
        await batcher.close()

    run(work)
    assert any(text.startswith("short") for text in recorder.calls[1])


def test_long_jobs_alternate(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=80)
        await asyncio.gather(*(batcher.embed(recorder, make_job(40, tokens=20, name=name)) for name in "abc"))
        await batcher.close()

    run(work)
    order = "".join(text[0] for call in recorder.calls for text in call)
    for name in "abc":
        assert order.index(name) < 12, "every job starts immediately"
        assert order.rindex(name) > 100, "no job finishes long before the others"


def test_a_stream_of_short_jobs_does_not_starve_a_long_one(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=100)
        # The text is longer than a batch, so it never fits into the remaining capacity of a batch.
        long = asyncio.create_task(batcher.embed(recorder, make_job(1, tokens=150, name="long")))

        async def stream(name: str) -> None:
            count = 0
            while not long.done():
                await batcher.embed(recorder, make_job(1, tokens=12, name=f"{name}{count}"))
                count += 1

        await asyncio.gather(long, *(stream(f"s{index}.") for index in range(20)))
        await batcher.close()

    run(work)
    assert any(text.startswith("long") for call in recorder.calls[:4] for text in call)


def test_a_text_in_several_jobs_is_embedded_once(recorder: RecordingEmbedder, fake: Embedder) -> None:
    async def work() -> None:
        batcher = Batcher()
        same = Prepared(("the same", "another", "the same"), (8, 7, 8))
        results = await asyncio.gather(*(batcher.embed(recorder, same) for _ in range(5)))
        for vectors in results:
            assert (vectors == fake.embed_texts(same.texts)).all()
        await batcher.close()

    run(work)
    assert [sorted(call) for call in recorder.calls] == [["another", "the same"]]


def test_models_alternate_and_do_not_share_batches() -> None:
    one, two = RecordingEmbedder(), RecordingEmbedder()
    order: list[str] = []
    one.embed_texts, two.embed_texts = (  # type: ignore[method-assign]
        lambda make_job, run=model.embed_texts, name=name: (order.append(name), run(make_job))[1]
        for name, model in (("one", one), ("two", two))
    )

    async def work() -> None:
        batcher = Batcher(batch_tokens=40)
        await asyncio.gather(*(batcher.embed(model, make_job(6, tokens=20)) for model in (one, two)))
        await batcher.close()

    run(work)
    assert order == ["one", "two"] * 3


def test_a_full_queue_rejects_jobs_with_retry_after_but_a_single_long_job_is_accepted(
    recorder: RecordingEmbedder,
) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=20, max_waiting_tokens=100)
        recorder.gate.clear()
        first = asyncio.create_task(batcher.embed(recorder, make_job(10, tokens=50)))
        await wait_for_calls(recorder)
        with pytest.raises(OverloadedError) as caught:
            await batcher.embed(recorder, make_job(1, tokens=10))
        assert 1 <= caught.value.retry_after <= 60
        recorder.gate.set()
        await first
        assert (await batcher.embed(recorder, make_job(1, tokens=10))).shape == (1, 64)
        await batcher.close()

    run(work)


def test_the_waiting_texts_of_a_cancelled_job_are_dropped(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=20)
        recorder.gate.clear()
        cancelled = asyncio.create_task(batcher.embed(recorder, make_job(100, tokens=20, name="gone")))
        await wait_for_calls(recorder)
        cancelled.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert batcher.waiting_tokens == 0
        recorder.gate.set()
        await batcher.embed(recorder, make_job(1, tokens=20, name="next"))
        await batcher.close()

    run(work)
    assert len(recorder.calls) == 2


def test_a_failing_text_fails_only_its_own_job(recorder: RecordingEmbedder, fake: Embedder) -> None:
    async def work() -> None:
        batcher = Batcher()
        recorder.gate.clear()
        first = asyncio.create_task(batcher.embed(recorder, make_job(1, tokens=10)))
        await wait_for_calls(recorder)
        bad = asyncio.create_task(batcher.embed(recorder, Prepared(("fine", "bad luck"), (4, 8))))
        good = asyncio.create_task(batcher.embed(recorder, make_job(3, tokens=10, name="good")))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await first
        with pytest.raises(RuntimeError):
            await bad
        assert (await good == fake.embed_texts(make_job(3, tokens=10, name="good").texts)).all()
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)


def test_the_waiting_texts_of_a_failed_job_are_dropped(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=20)
        with pytest.raises(RuntimeError):
            await batcher.embed(recorder, Prepared(("bad luck", *make_job(50, tokens=7).texts), (8, *[7] * 50)))
        await batcher.embed(recorder, make_job(1, tokens=5, name="n"))
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)
    assert len(recorder.calls) <= 4


def test_closing_finishes_present_jobs_and_rejects_new_ones(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=40)
        recorder.gate.clear()
        tasks = [asyncio.create_task(batcher.embed(recorder, make_job(9, tokens=20, name=name))) for name in "ab"]
        await wait_for_calls(recorder)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDownError):
            await batcher.embed(recorder, make_job(1, tokens=5))
        recorder.gate.set()
        await closing
        assert [(await task).shape for task in tasks] == [(9, 64), (9, 64)]

    run(work)


def test_an_empty_job_does_not_call_the_model(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher()
        assert (await batcher.embed(recorder, Prepared((), ()))).shape == (0, 64)
        await batcher.close()

    run(work)
    assert recorder.calls == []


def test_random_and_cancelled_jobs_get_the_right_vectors(recorder: RecordingEmbedder, fake: Embedder) -> None:
    random = np.random.default_rng(7)

    async def work() -> None:
        batcher = Batcher(batch_tokens=200)

        async def client(number: int) -> None:
            for turn in range(6):
                lengths = random.integers(8, 90, size=random.integers(1, 30))
                strings = tuple(f"{number} {turn} {n}".ljust(int(length)) for n, length in enumerate(lengths))
                job = Prepared(strings, tuple(len(text) for text in strings))
                task = asyncio.create_task(batcher.embed(recorder, job))
                if random.random() < 0.2:
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                else:
                    assert (await task == fake.embed_texts(strings)).all()

        await asyncio.gather(*map(client, range(12)))
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)
