"""Every error that Umekomi raises on purpose, in one tree.

Catch :class:`UmekomiError` to catch them all. Each message is one sentence or two that a user can act on: what was wrong,
and what to do next. The command line prints the message alone and exits with status 2; the server turns each class into
one HTTP status (the map is in ``umekomi.serve.errors``).

::

    UmekomiError
     ├─ InputError                  what the caller passed is wrong (also a ValueError)
     │   ├─ TokenLimitError         a text has more tokens than the model takes
     │   ├─ RecordError             a file of records: its format, a column, a row
     │   ├─ FilterError             a --where expression: its syntax, a column that is not there
     │   ├─ ModelNotFoundError      no model has this id
     │   └─ OutputLockedError       another process is writing the same output
     ├─ SpaceMismatchError          vectors of two different models or settings would be mixed
     ├─ AssetError                  weights, vocabularies, data sets
     │   ├─ AssetMissingError       no source has the file
     │   ├─ AssetCorruptError       the bytes do not have the promised SHA-256
     │   └─ AssetDiskError          the file cannot be written here
     ├─ StoreError                  a vector store
     │   ├─ CollectionNotFoundError
     │   └─ StoreUnavailableError   the engine does not answer
     ├─ RemoteError                 a hosted embeddings API refused or failed
     ├─ OverloadedError             the server's queue is full; try again later
     │   └─ ShuttingDownError       the server is stopping and takes no new work
     └─ MissingExtraError           an optional part of Umekomi is not installed
"""

from __future__ import annotations


class UmekomiError(Exception):
    """The root of the tree. ``str(error)`` is a message for the user."""


class InputError(UmekomiError, ValueError):
    """What the caller passed is wrong.

    ``param`` names the argument (or the field of an API request) at fault, where one can be named.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class TokenLimitError(InputError):
    """A text has more tokens than the model takes.

    ``index`` is its place in the inputs, ``n_tokens`` its length and ``limit`` the model's limit, both in tokens of the
    model's own tokenizer. If ``is_exact`` is False, the text has at least ``n_tokens`` tokens: much too long texts are not
    counted to their end.
    """

    def __init__(self, message: str, *, index: int, n_tokens: int, limit: int, is_exact: bool = True) -> None:
        super().__init__(message, param="input")
        self.index = index
        self.n_tokens = n_tokens
        self.limit = limit
        self.is_exact = is_exact

    @property
    def length(self) -> str:
        """The number of tokens for a message: ``9000`` or ``at least 125000``."""
        return f"{self.n_tokens}" if self.is_exact else f"at least {self.n_tokens}"


class RecordError(InputError):
    """A file of records cannot be used: its format, a column or a row is wrong."""


class FilterError(InputError):
    """A filter expression is wrong: its syntax, or a column that is not there."""


class ModelNotFoundError(InputError):
    """No model has this id."""

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class OutputLockedError(InputError):
    """Another process is writing the same output."""


class SpaceMismatchError(UmekomiError):
    """Vectors of two different spaces (another model, or another version of its parts) would be mixed."""


class AssetError(UmekomiError):
    """Something about a file of weights, a vocabulary or a data set."""


class AssetMissingError(AssetError):
    """No source has the file."""


class AssetCorruptError(AssetError):
    """The bytes that came do not have the promised SHA-256."""


class AssetDiskError(AssetError):
    """The file cannot be written here: the disk is full, or the folder is read-only."""


class StoreError(UmekomiError):
    """Something about a vector store."""


class CollectionNotFoundError(StoreError):
    """The store holds no such collection."""


class StoreUnavailableError(StoreError):
    """The engine behind the store does not answer."""


class RemoteError(UmekomiError):
    """A hosted embeddings API refused the request, or failed after every retry."""


class RemoteUnavailableError(RemoteError):
    """A hosted embeddings API cannot be reached, is overloaded or has an error of its own: the same request may succeed later."""


class OverloadedError(UmekomiError):
    """Too much work is waiting. ``retry_after`` is a fair time to wait, in seconds."""

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ShuttingDownError(OverloadedError):
    """The server is stopping: it finishes what it has and takes no new work."""


class MissingExtraError(UmekomiError):
    """An optional part of Umekomi is not installed. The message names the command that installs it."""
