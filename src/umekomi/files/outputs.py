"""Writing output files: atomically, through symbolic links, with the right mode, and with one writer at a time.

Every command and every ``save`` method writes with :func:`atomic_write`. A command that computes for a while before it writes
also holds :func:`locked_output`, so that a second process stops at once instead of replacing the result of the first.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import stat
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from ..errors import InputError
from .ownership import OutputLock

PARQUET_SUFFIXES = (".parquet", ".pq")

_FILE_TYPES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def require_suffix(path: str | Path, suffixes: Collection[str]) -> None:
    """Raise InputError unless the name of a file ends with one of the suffixes, in upper or lower case."""
    if Path(path).suffix.lower() not in suffixes:
        *others, last = suffixes
        choice = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"{path} cannot be written, because its name must end with {choice}.")


def resolve_output(path: str | Path) -> Path:
    """Return the file that a write to ``path`` creates or replaces; symbolic links are followed.

    Raises:
        InputError: It is a folder, a named pipe, a device or a socket, its folder does not exist, or it is write-protected.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be written: {_reason(error)}.") from error
    if mode is not None and not stat.S_ISREG(mode):
        file_type = next((name for matches, name in _FILE_TYPES if matches(mode)), "not a regular file")
        raise InputError(f"{path} is {file_type} and cannot be used as an output file. Choose another name.")
    if not target.parent.is_dir():
        raise InputError(
            f"{path} cannot be written, because the folder {target.parent} does not exist. Create it first."
        )
    if mode is not None and not os.access(target, os.W_OK):
        raise InputError(f"{path} is write-protected. Choose another name, or change its permissions.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written, because the folder {target.parent} is read-only.")
    return target


@contextmanager
def locked_output(path: str | Path, *, purpose: str) -> Iterator[Path]:
    """Hold the lock of an output file. The context is the file behind all symbolic links.

    Temporary files that killed runs left for this output are deleted. SIGTERM and SIGHUP release the lock before they take
    effect.

    Raises:
        InputError: The output cannot be written; see :func:`resolve_output`.
        OutputLockedError: Another process holds the lock.
    """
    target = resolve_output(path)
    lock = OutputLock(target, purpose=purpose)
    with _cleanup_on_signals():
        with explain_write_errors(path):
            lock.acquire()
        try:
            for leftover in target.parent.glob(f"{_temporary_prefix(target)}*"):
                leftover.unlink(missing_ok=True)
            yield target
        finally:
            lock.release()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file that appears under its name only when it is complete.

    The context is the path of an empty temporary file in the folder of the target. When the block ends, the temporary file is
    flushed to disk and replaces the target. If the block fails, the temporary file is deleted and an existing target stays as it
    was. A symbolic link stays a link. An existing file keeps its mode and its owner; a new one gets the mode that the umask
    allows.

    Raises:
        InputError: The file cannot be written, for example because the disk is full; see also :func:`resolve_output`.
    """
    target = resolve_output(path)
    temporary = target.with_name(f"{_temporary_prefix(target)}{secrets.token_hex(4)}.tmp")
    with _cleanup_on_signals(), explain_write_errors(path):
        try:
            # Not tempfile.mkstemp, which ignores the umask.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            status = os.fstat(descriptor)
            os.close(descriptor)
            yield temporary
            with suppress(FileNotFoundError):
                existing = target.stat()
                status = existing
                with suppress(OSError, AttributeError):  # not the owner, or Windows
                    os.chown(temporary, existing.st_uid, existing.st_gid)
            os.chmod(temporary, stat.S_IMODE(status.st_mode))
            _flush(temporary)
            os.replace(temporary, target)
            _flush_folder(target.parent)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file with :func:`atomic_write`; line ends stay as they are."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(text.encode())


@contextmanager
def explain_write_errors(path: str | Path) -> Iterator[None]:
    """Turn an OSError in the block into an InputError that says that ``path`` cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {_reason(error)}.") from error


def _reason(error: Exception) -> str:
    # Arrow's messages repeat the system's reason after a long prefix.
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error).rstrip(".") or type(error).__name__


def _temporary_prefix(target: Path) -> str:
    # A hash, because the name itself may be as long as the file system allows.
    return f".umekomi-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"


def _flush(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _flush_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows and some network file systems cannot do this
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class _StopSignalError(BaseException):
    """SIGTERM or SIGHUP has arrived. A BaseException, so that no ``except Exception`` catches it."""


@contextmanager
def _cleanup_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP run the cleanup of the block before they end the process.

    Signals that the program handles itself are left alone, and so are those of threads, which cannot set handlers.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise _StopSignalError

    changed: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
        changed = [number for number in numbers if number and signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, stop)
    try:
        yield
    except _StopSignalError:
        if not received:  # the handler belongs to an outer block, which ends the process
            raise
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)
        if received:
            os.kill(os.getpid(), received[0])
