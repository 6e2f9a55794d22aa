"""The batcher: which texts share a batch, which jobs wait, and what is dropped."""

import asyncio
from collections.abc import Callable, Coroutine

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.embedder import Prepared
from umekomi.errors import OverloadedError, ShuttingDownError
from umekomi.serve.scheduler.batcher import Batcher

from ..conftest import RecordingEmbedder


def texts(count: int, *, tokens: int, name: str = "text") -> Prepared:
    """Different texts with this number of tokens each (a token of the model is a byte)."""
    made = tuple(f"{name} {place} ".ljust(tokens, "x") for place in range(count))
    return Prepared(made, tuple(len(text.encode()) for text in made))


def run(work: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), timeout=60))


async def has_begun(embedder: RecordingEmbedder, calls: int = 1) -> None:
    while len(embedder.calls) < calls:
        await asyncio.sleep(0.001)


def test_waiting_jobs_share_batches_and_each_gets_its_own_vectors(recorder: RecordingEmbedder, fake: Embedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=1000)
        recorder.gate.clear()
        jobs = [texts(1 + place % 3, tokens=10 + place, name=f"job {place}") for place in range(20)]
        tasks = [asyncio.create_task(batcher.embed(recorder, job)) for job in jobs]
        await has_begun(recorder)
        recorder.gate.set()
        for job, vectors in zip(jobs, await asyncio.gather(*tasks), strict=True):
            assert (vectors == fake.embed_texts(job.texts)).all()
        assert batcher.calls < 20
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)


def test_a_batch_keeps_to_its_budget_and_a_longer_text_goes_alone(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=100)
        await batcher.embed(recorder, texts(50, tokens=20))
        await batcher.embed(recorder, texts(2, tokens=500))
        await batcher.close()

    run(work)
    sizes = [sum(map(len, call)) for call in recorder.calls]
    assert max(sizes[:-2]) <= 100
    assert sizes[-2:] == [500, 500]


def test_a_short_job_waits_for_the_running_batch_and_no_more(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=400, max_wait_seconds=600)
        recorder.gate.clear()
        long = [asyncio.create_task(batcher.embed(recorder, texts(300, tokens=30, name=f"long {n}"))) for n in range(5)]
        await has_begun(recorder)
        short = asyncio.create_task(batcher.embed(recorder, texts(1, tokens=20, name="short")))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await short
        assert not any(task.done() for task in long)
        await asyncio.gather(*long)
        await batcher.close()

    run(work)
    assert any(text.startswith("short") for text in recorder.calls[1])


def test_long_jobs_take_turns(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=80)
        await asyncio.gather(*(batcher.embed(recorder, texts(40, tokens=20, name=name)) for name in "abc"))
        await batcher.close()

    run(work)
    order = "".join(text[0] for call in recorder.calls for text in call)
    for name in "abc":
        assert order.index(name) < 12, "each begins at once"
        assert order.rindex(name) > 100, "and none is finished long before the others"


def test_a_stream_of_short_jobs_does_not_starve_a_long_one(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=100)
        # Its one text is longer than a batch, so it fits into no room that short jobs leave.
        long = asyncio.create_task(batcher.embed(recorder, texts(1, tokens=150, name="long")))

        async def stream(name: str) -> None:
            count = 0
            while not long.done():
                await batcher.embed(recorder, texts(1, tokens=12, name=f"{name}{count}"))
                count += 1

        await asyncio.gather(long, *(stream(f"s{place}.") for place in range(20)))
        await batcher.close()

    run(work)
    assert any(text.startswith("long") for call in recorder.calls[:4] for text in call)


def test_a_text_that_several_ask_for_is_embedded_once(recorder: RecordingEmbedder, fake: Embedder) -> None:
    async def work() -> None:
        batcher = Batcher()
        same = Prepared(("the same", "another", "the same"), (8, 7, 8))
        found = await asyncio.gather(*(batcher.embed(recorder, same) for _ in range(5)))
        for vectors in found:
            assert (vectors == fake.embed_texts(same.texts)).all()
        await batcher.close()

    run(work)
    assert [sorted(call) for call in recorder.calls] == [["another", "the same"]]


def test_models_take_turns_and_are_never_joined() -> None:
    one, two = RecordingEmbedder(), RecordingEmbedder()
    joint: list[str] = []
    one.embed_texts, two.embed_texts = (  # type: ignore[method-assign]
        lambda texts, run=model.embed_texts, name=name: (joint.append(name), run(texts))[1]
        for name, model in (("one", one), ("two", two))
    )

    async def work() -> None:
        batcher = Batcher(batch_tokens=40)
        await asyncio.gather(*(batcher.embed(model, texts(6, tokens=20)) for model in (one, two)))
        await batcher.close()

    run(work)
    assert joint == ["one", "two"] * 3


def test_too_much_waiting_is_refused_with_a_time_but_a_single_long_job_never(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=20, max_waiting_tokens=100)
        recorder.gate.clear()
        first = asyncio.create_task(batcher.embed(recorder, texts(10, tokens=50)))
        await has_begun(recorder)
        with pytest.raises(OverloadedError) as failure:
            await batcher.embed(recorder, texts(1, tokens=10))
        assert 1 <= failure.value.retry_after <= 60
        recorder.gate.set()
        await first
        assert (await batcher.embed(recorder, texts(1, tokens=10))).shape == (1, 64)
        await batcher.close()

    run(work)


def test_what_a_cancelled_job_has_not_begun_is_dropped(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=20)
        recorder.gate.clear()
        gone = asyncio.create_task(batcher.embed(recorder, texts(100, tokens=20, name="gone")))
        await has_begun(recorder)
        gone.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert batcher.waiting_tokens == 0
        recorder.gate.set()
        await batcher.embed(recorder, texts(1, tokens=20, name="next"))
        await batcher.close()

    run(work)
    assert len(recorder.calls) == 2


def test_a_bad_text_fails_its_own_job_only(recorder: RecordingEmbedder, fake: Embedder) -> None:
    async def work() -> None:
        batcher = Batcher()
        recorder.gate.clear()
        holder = asyncio.create_task(batcher.embed(recorder, texts(1, tokens=10)))
        await has_begun(recorder)
        bad = asyncio.create_task(batcher.embed(recorder, Prepared(("fine", "bad luck"), (4, 8))))
        good = asyncio.create_task(batcher.embed(recorder, texts(3, tokens=10, name="good")))
        await asyncio.sleep(0.01)
        recorder.gate.set()
        await holder
        with pytest.raises(RuntimeError):
            await bad
        assert (await good == fake.embed_texts(texts(3, tokens=10, name="good").texts)).all()
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)


def test_the_rest_of_a_failed_job_is_dropped(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=20)
        with pytest.raises(RuntimeError):
            await batcher.embed(recorder, Prepared(("bad luck", *texts(50, tokens=7).texts), (8, *[7] * 50)))
        await batcher.embed(recorder, texts(1, tokens=5, name="n"))
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)
    assert len(recorder.calls) <= 4


def test_closing_finishes_present_jobs_and_rejects_new_ones(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher(batch_tokens=40)
        recorder.gate.clear()
        here = [asyncio.create_task(batcher.embed(recorder, texts(9, tokens=20, name=name))) for name in "ab"]
        await has_begun(recorder)
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        with pytest.raises(ShuttingDownError):
            await batcher.embed(recorder, texts(1, tokens=5))
        recorder.gate.set()
        await closing
        assert [(await task).shape for task in here] == [(9, 64), (9, 64)]

    run(work)


def test_no_texts_need_no_call(recorder: RecordingEmbedder) -> None:
    async def work() -> None:
        batcher = Batcher()
        assert (await batcher.embed(recorder, Prepared((), ()))).shape == (0, 64)
        await batcher.close()

    run(work)
    assert recorder.calls == []


def test_any_order_of_any_jobs_gives_every_vector(recorder: RecordingEmbedder, fake: Embedder) -> None:
    random = np.random.default_rng(7)

    async def work() -> None:
        batcher = Batcher(batch_tokens=200)

        async def client(number: int) -> None:
            for turn in range(6):
                lengths = random.integers(8, 90, size=random.integers(1, 30))
                made = tuple(f"{number} {turn} {n}".ljust(int(length)) for n, length in enumerate(lengths))
                job = Prepared(made, tuple(len(text) for text in made))
                task = asyncio.create_task(batcher.embed(recorder, job))
                if random.random() < 0.2:
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                else:
                    assert (await task == fake.embed_texts(made)).all()

        await asyncio.gather(*map(client, range(12)))
        assert batcher.waiting_tokens == 0
        await batcher.close()

    run(work)
