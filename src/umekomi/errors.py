"""Every error that Umekomi raises on purpose.

Catch :class:`UmekomiError` to catch them all. A message is one or two sentences that a user can act on: what is wrong, and what
to do next. The command line prints the message alone and exits with status 2. The server maps each class to one HTTP status
(see ``umekomi.serve.errors``).

::

    UmekomiError
     ├─ InputError                     an argument is invalid (also a ValueError)
     │   ├─ TokenLimitError            a text has more tokens than the model accepts
     │   ├─ RecordError                a file of records: its format, a column, a row
     │   ├─ FilterError                a --where expression: its syntax, an unknown column
     │   ├─ ModelNotFoundError         no model has this id
     │   └─ OutputLockedError          another process is writing the same output
     ├─ SpaceMismatchError             vectors of two different models or settings would be mixed
     ├─ AssetError                     weights, vocabularies, data sets
     │   ├─ AssetMissingError          no source has the file
     │   ├─ AssetCorruptError          the file does not have the expected SHA-256
     │   └─ AssetDiskError             the file cannot be written
     ├─ StoreError                     a vector store
     │   ├─ CollectionNotFoundError
     │   └─ StoreUnavailableError      the engine does not respond
     ├─ RemoteError                    a hosted embeddings API refused the request or failed
     │   └─ RemoteUnavailableError     the same request may succeed later
     ├─ OverloadedError                the server's queue is full
     │   └─ ShuttingDownError          the server is stopping
     ├─ PluginError                    a plugin cannot be imported, or its name is not unique
     └─ MissingExtraError              an optional dependency is not installed
"""

from __future__ import annotations


class UmekomiError(Exception):
    """Base class of all errors. ``str(error)`` is a message for the user."""


class InputError(UmekomiError, ValueError):
    """An argument is invalid.

    Attributes:
        param: Name of the invalid argument, or of the field of an API request. None if no single one is to blame.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class TokenLimitError(InputError):
    """A text has more tokens than the model accepts.

    Attributes:
        index: Index of the text in the inputs.
        n_tokens: Length of the text, in tokens of the model's own tokenizer.
        limit: Maximum number of tokens.
        is_exact: Whether ``n_tokens`` is exact. If False, the text has at least ``n_tokens`` tokens, because much too long
            texts are not counted to their end.
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
    """A file of records is invalid: its format, a column or a row."""


class FilterError(InputError):
    """A filter expression is invalid: its syntax, or an unknown column."""


class ModelNotFoundError(InputError):
    """No model has this id."""

    def __init__(self, message: str) -> None:
        super().__init__(message, param="model")


class OutputLockedError(InputError):
    """Another process is writing the same output."""


class SpaceMismatchError(UmekomiError):
    """Vectors of two different spaces (different models, or different versions of their parts) would be mixed."""


class AssetError(UmekomiError):
    """Base class of errors about files of weights, vocabularies and data sets."""


class AssetMissingError(AssetError):
    """No source has the file."""


class AssetCorruptError(AssetError):
    """The file does not have the expected SHA-256."""


class AssetDiskError(AssetError):
    """The file cannot be written: the disk is full, or the folder is read-only."""


class StoreError(UmekomiError):
    """Base class of errors about vector stores."""


class CollectionNotFoundError(StoreError):
    """The store has no such collection."""


class StoreUnavailableError(StoreError):
    """The engine behind the store does not respond."""


class RemoteError(UmekomiError):
    """A hosted embeddings API refused the request, or failed after every retry."""


class RemoteUnavailableError(RemoteError):
    """A hosted embeddings API is unreachable, overloaded or failing. The same request may succeed later."""


class OverloadedError(UmekomiError):
    """Too much work is waiting.

    Attributes:
        retry_after: Seconds to wait before trying again.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ShuttingDownError(OverloadedError):
    """The server is stopping: it finishes its current work and accepts no more."""


class PluginError(UmekomiError):
    """A plugin cannot be imported, or its name is not unique. The message names the package."""


class MissingExtraError(UmekomiError):
    """An optional dependency is not installed. The message contains the command that installs it."""
