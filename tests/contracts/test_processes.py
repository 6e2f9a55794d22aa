"""Stores after a fork, in a spawned process, pickled and copied."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys

import pytest
from tests.contracts.engines import ENGINES, EngineCase
from tests.contracts.rows import SPACE, fill, vectors

from umekomi.stores import Store, create_store, open_store

FORKED = """
import json, os, signal, sys
import numpy as np
from umekomi.errors import StoreError
from umekomi.stores import open_store

url = sys.argv[1]
used = open_store(url)
used.search(np.ones((1, 16)), k=1)

def child(call):
    read, write = os.pipe()
    if not (pid := os.fork()):
        signal.alarm(20)  # end the process if the call hangs
        try:
            outcome = ["result", call()]
        except StoreError as error:
            outcome = ["error", str(error)]
        os.write(write, json.dumps(outcome).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    return json.loads(os.read(read, 4096) or b'["nothing", null]')

def new():
    with open_store(url) as store:
        return store.count()

print(json.dumps([child(used.count), child(new), ["result", used.count()]]))
used.close()
"""


@pytest.mark.parametrize("engine", [row for row in ENGINES if row.name != "memory"], indirect=True, ids=str)
def test_a_store_works_after_a_fork_or_raises_an_error(engine: EngineCase, url: str) -> None:
    with fill(create_store(url, SPACE), 5) as store:
        pass
    done = subprocess.run([sys.executable, "-c", FORKED, url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (used, used_message), (new, new_value), parent = json.loads(done.stdout)
    assert (used, new) == ("error", "result" if type(store).survives_fork else "error")
    assert "was opened in process" in used_message
    assert new_value == 5 if new == "result" else "spawn" in new_value
    assert parent == ["result", 5]
    with open_store(url) as reopened:
        reopened.drop()


def test_pickled_and_copied_stores_open_the_same_collection(engine: EngineCase, url: str) -> None:
    with create_store(url, SPACE) as store:
        fill(store, 5)
        copies: list[Store] = [pickle.loads(pickle.dumps(store)), copy.deepcopy(store), copy.copy(store)]
        for duplicate in copies:
            assert (duplicate.count(), duplicate.space, duplicate.url, type(duplicate)) == (
                5,
                SPACE,
                store.url,
                type(store),
            )
            assert [hit.id for hit in duplicate.search(vectors(1), k=1)[0]] == ["row 0"]
            duplicate.close()
        store.drop()


def test_a_pickled_store_has_no_secret() -> None:
    pytest.importorskip("redis")
    code = (
        "import pickle, sys; from umekomi.stores.url import Address; from umekomi.stores.engines.redis import RedisStore\n"
        "store = RedisStore.__new__(RedisStore)\n"
        "store._address, store.space, store.url = Address('redis', 'h/a', 'me', 's3cret-key'), None, 'redis://h/a'\n"
        "data = pickle.dumps(store)\n"
        "assert b's3cret' not in data and b's3cret' not in repr(store).encode()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
