"""Models in memory. Each is loaded on first use, outside of the event loop and one at a time, and stays loaded."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ..catalog import Catalog, ModelCard, load_catalog
from ..embedder import Embedder
from ..errors import ModelNotFoundError

logger = logging.getLogger(__name__)
_MAX_ID_LENGTH = 200
_COLLECTION_THRESHOLD = 10_000


def freeze_garbage_collector() -> None:
    """Exclude all present objects (models, vocabularies, the application) from garbage collection, and collect less often.

    Otherwise, Python's garbage collector would visit all of them again and again while requests are answered. Call it after a
    model has been loaded, in a process that only serves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTION_THRESHOLD, 20, 100)


def _load(model: str) -> Embedder:
    return Embedder(model, report=logger.info)


class Models:
    """The models that a server serves.

    Args:
        catalog: The catalog; by default Umekomi's own.
        load: Loads a model; by default :class:`~umekomi.Embedder` with the settings of the environment.
        only: Ids of the served models; by default all models of the catalog and all preloaded models.
        aliases: Other ids of models, which are always served. An alias hides a model of the same id.
    """

    def __init__(
        self,
        *,
        catalog: Catalog | None = None,
        load: Callable[[str], Embedder] = _load,
        only: Iterable[str] | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.catalog = catalog or load_catalog()
        self._aliases = dict(aliases or {})
        self._only = None if only is None else frozenset(only)
        self._load = load
        self._loaded: dict[str, Embedder] = {}
        self._loading: dict[str, asyncio.Task[Embedder]] = {}
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-load")

    @property
    def listed(self) -> list[ModelCard]:
        """The models to list: those of the catalog that are not hidden, and other loaded models."""
        catalog = self.catalog.models
        if self._only is not None:
            names = [name for name in sorted(self._only) if name in catalog or name in self._loaded]
        else:
            names = [name for name, card in catalog.items() if not card.hidden]
            names += [name for name in self._loaded if name not in catalog]
        return [self.card(name) for name in dict.fromkeys([*names, *self._aliases])]

    @property
    def loaded(self) -> list[str]:
        """The ids of the models in memory."""
        return list(self._loaded)

    def preload(self, model_ids: Iterable[str]) -> None:
        """Load models before the server starts. Raises the errors of :class:`~umekomi.Embedder`."""
        for model_id in model_ids:
            if model_id not in self._loaded:
                self._loaded[model_id] = self._load(model_id)

    def card(self, model_id: str) -> ModelCard:
        """Return the model card of a model.

        Raises:
            ModelNotFoundError: The model does not exist or is not served.
        """
        if len(model_id) > _MAX_ID_LENGTH:
            raise ModelNotFoundError(f"The model `{model_id[:80]}…` does not exist.")
        if model_id in self._aliases:
            return replace(self._card(self._aliases[model_id]), id=model_id)
        if self._only is not None and model_id not in self._only:
            # The same message for models of the catalog and for anything else.
            raise ModelNotFoundError(
                f"The model `{model_id}` does not exist or is not served here; GET /v1/models lists those that are."
            )
        return self._card(model_id)

    def _card(self, model_id: str) -> ModelCard:
        if model_id in self._loaded and model_id not in self.catalog.models:
            return self._loaded[model_id].card
        return self.catalog.model(model_id)

    def resolve(self, model_id: str, fingerprint: str) -> str:
        """Return the id under which this server has a model. It has the model of a folder under a name instead of its path."""
        if model_id in self._loaded or model_id in self.catalog.models:
            return model_id
        matches = (name for name, embedder in self._loaded.items() if embedder.fingerprint == fingerprint)
        return next(matches, model_id)

    def get_loaded(self, model_id: str) -> Embedder | None:
        """Return a model if it is in memory, or None."""
        return self._loaded.get(self._aliases.get(model_id, model_id))

    async def get(self, model_id: str) -> Embedder:
        """Return a model. It is loaded if necessary; concurrent requests share one load.

        Raises:
            ModelNotFoundError: The model does not exist or is not served.
            AssetError: A required file could not be found or downloaded. The next request tries again.
        """
        if (embedder := self.get_loaded(model_id)) is not None:
            return embedder
        self.card(model_id)
        model_id = self._aliases.get(model_id, model_id)
        task = self._loading.get(model_id)
        if task is None:
            task = self._loading[model_id] = asyncio.create_task(self._load_in_thread(model_id))
            # Retrieves the exception, so that asyncio does not log it if all requests for the model have been cancelled.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Shielded, because a client that disconnects must not cancel the load for others.
        return await asyncio.shield(task)

    async def _load_in_thread(self, model_id: str) -> Embedder:
        logger.info("loading %s", model_id)
        try:
            embedder = await asyncio.get_running_loop().run_in_executor(self._loader, self._load, model_id)
            self._loaded[model_id] = embedder
            return embedder
        finally:
            del self._loading[model_id]

    def close(self) -> None:
        """Start no more loads. A load that is running continues in its thread."""
        self._loader.shutdown(wait=False, cancel_futures=True)
