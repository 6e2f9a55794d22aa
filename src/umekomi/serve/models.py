"""Models in memory: loaded when first asked for, off the event loop, one at a time, and kept."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from ..catalog import Catalog, ModelCard, load_catalog
from ..embedder import Embedder
from ..errors import ModelNotFoundError

logger = logging.getLogger(__name__)
_LONGEST_ID = 200
_COLLECT_AFTER = 10_000


def freeze_garbage_collector() -> None:
    """Tell Python that what is in memory now stays there: models, vocabularies, the application.

    Its collector of cycles would look through all of it again and again while requests are answered. For a process that only
    serves; call it when a model has been loaded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 100)


def _load(model: str) -> Embedder:
    return Embedder(model, report=logger.info)


class Models:
    """Every model that this server may be asked for.

    Args:
        catalog: by default the one that Umekomi ships.
        load: makes a model ready; by default :class:`~umekomi.Embedder` with the settings of the environment.
        only: ids of the only models that are served; by default every model of the catalog and every preloaded model.
    """

    def __init__(
        self,
        *,
        catalog: Catalog | None = None,
        load: Callable[[str], Embedder] = _load,
        only: Iterable[str] | None = None,
    ) -> None:
        self.catalog = catalog or load_catalog()
        self._only = None if only is None else frozenset(only)
        self._load = load
        self._ready: dict[str, Embedder] = {}
        self._loading: dict[str, asyncio.Task[Embedder]] = {}
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="umekomi-load")

    @property
    def visible(self) -> list[ModelCard]:
        """The models to list: the catalogue's, and those in memory that are not of it. Hidden ones may be asked for by id."""
        known = self.catalog.models
        if self._only is not None:
            return [self.card(name) for name in sorted(self._only) if name in known or name in self._ready]
        others = [embedder.card for name, embedder in self._ready.items() if name not in known]
        return [*(card for card in known.values() if not card.hidden), *others]

    @property
    def loaded(self) -> list[str]:
        """The ids of the models that are in memory."""
        return list(self._ready)

    def preload(self, model_ids: Iterable[str]) -> None:
        """Load models now, before the server answers. Raises what :class:`~umekomi.Embedder` raises."""
        for model_id in model_ids:
            if model_id not in self._ready:
                self._ready[model_id] = self._load(model_id)

    def card(self, model_id: str) -> ModelCard:
        """What is known of a model.

        Raises:
            ModelNotFoundError: no model has this id.
        """
        if len(model_id) > _LONGEST_ID:
            raise ModelNotFoundError(f"The model `{model_id[:80]}…` does not exist.")
        if self._only is not None and model_id not in self._only:
            # The same sentence for models of the catalog and for anything else.
            raise ModelNotFoundError(
                f"The model `{model_id}` does not exist or is not served here; GET /v1/models lists those that are."
            )
        if model_id in self._ready and model_id not in self.catalog.models:
            return self._ready[model_id].card
        return self.catalog.model(model_id)

    def of_space(self, model_id: str, fingerprint: str) -> str:
        """The id here of the model that made vectors of a space: a folder's model goes by another name than its path."""
        if model_id in self._ready or model_id in self.catalog.models:
            return model_id
        found = (name for name, embedder in self._ready.items() if embedder.fingerprint == fingerprint)
        return next(found, model_id)

    def ready(self, model_id: str) -> Embedder | None:
        """A model that is in memory, or None."""
        return self._ready.get(model_id)

    async def get(self, model_id: str) -> Embedder:
        """A model, loaded if need be. Requests that come while it loads share the one load.

        Raises:
            ModelNotFoundError: no model has this id.
            AssetError: a file that the model needs cannot be had; the next request tries again.
        """
        if model_id in self._ready:
            return self._ready[model_id]
        self.card(model_id)
        task = self._loading.get(model_id)
        if task is None:
            task = self._loading[model_id] = asyncio.create_task(self._load_one(model_id))
            # A failed load whose waiters have all gone is nobody's news; without this asyncio prints it as an error.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Shielded: a client that goes away must not stop the load that others wait for.
        return await asyncio.shield(task)

    async def _load_one(self, model_id: str) -> Embedder:
        logger.info("loading %s", model_id)
        try:
            embedder = await asyncio.get_running_loop().run_in_executor(self._loader, self._load, model_id)
            self._ready[model_id] = embedder
            return embedder
        finally:
            del self._loading[model_id]

    def close(self) -> None:
        """Start no further load; one that runs goes on in its thread."""
        self._loader.shutdown(wait=False, cancel_futures=True)
