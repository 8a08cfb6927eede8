"""SQLite's and the file system's complaints, in words that help.

Nothing above the journal sees a `sqlite3.Error`.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from uploader.errors import JournalError

# Result codes without their extensions: https://sqlite.org/rescode.html
FAILURES: Final[Mapping[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: (
        "the disk is full",
        "what was recorded is safe; make room, then `uploader resume` goes on",
    ),
    sqlite3.SQLITE_READONLY: (
        "it cannot be written",
        "the journal, its directory and its disk have to be writable",
    ),
    sqlite3.SQLITE_NOTADB: (
        "it is not a journal, not even a database",
        "nothing in it was touched; name another file as journal",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "it is damaged",
        "keep a copy of it; `sqlite3 FILE .recover` may save what it knows",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process keeps it locked",
        "is a process of uploader stopped, or is a program looking into the journal?",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "it cannot be opened",
        "the directory has to exist and to be writable",
    ),
    sqlite3.SQLITE_PERM: (
        "it may not be opened",
        "the journal has to belong to the user who runs uploader",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk failed to read or write it",
        "was it removed, or its disk? what was recorded before is safe",
    ),
}


MISSHAPEN: Final = re.compile(r"^no such |has no column|already exists$")
"""What SQLite says of tables that are not as this program knows them."""


def failure(code: int, path: Path, otherwise: str = "") -> JournalError:
    """Say what *code* means for the journal at *path*."""
    fact, hint = FAILURES.get(code & 0xFF, (otherwise, None))
    if code == sqlite3.SQLITE_ERROR and MISSHAPEN.search(otherwise):
        fact = f"another version of uploader made it: {otherwise}"
        hint = "finish its uploads with that version, or name another file as journal"
    return JournalError(f"{path}: {fact}", hint=hint)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into `JournalError`."""
    try:
        yield
    except sqlite3.Error as error:
        # The sqlite3 module's own complaints have no code.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        raise failure(code, path, otherwise=str(error)) from error
    except OSError as error:
        raise JournalError(
            f"{error.filename or path}: {error.strerror or error}",
            hint="the journal needs a directory that you may write to",
        ) from error
