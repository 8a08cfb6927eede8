"""One thread that owns the connection, and group commit.

Whatever waits together is committed together: one transaction, one fsync.  If an item
fails the others are done without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from sqlite_utils import Database

from uploader.errors import JournalError
from uploader.journal.failures import explained
from uploader.journal.schema import open_database, transaction

T = TypeVar("T")

Work = Callable[[Database], T]


class _ItemFailed(Exception):
    """One of those who share a transaction; the others are to be done without it."""


@dataclass(slots=True)
class _Item:
    """Something to do in a transaction, and who waits for it."""

    work: Work[Any]
    writes: bool
    waiter: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None

    def do(self, db: Database) -> None:
        try:
            self.result = self.work(db)
        except Exception as error:
            raise _ItemFailed from error

    def settle(self, failure: JournalError | None) -> None:
        # The waiter may have been cancelled.  What it asked for is done all the same.
        if self.waiter.done():
            return
        if (error := failure or self.error) is not None:
            self.waiter.set_exception(error)
        else:
            self.waiter.set_result(self.result)


class Writer:
    """Takes functions of the database and does them in its thread, in order.

    At most one batch is in the thread; what is submitted meanwhile becomes the next.
    The first batch opens the file, and fails if that fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Item] = []
        self._busy = False
        self._closing = False
        self._closed = asyncio.Event()
        self._resources = contextlib.ExitStack()
        self._resources.callback(self._tell, self._closed.set)
        self._batches: SimpleQueue[list[_Item] | None] = SimpleQueue()
        # A daemon: who forgets `aclose` loses what a crash would lose, but can exit.
        Thread(target=self._run, name="journal", daemon=True).start()

    async def read(self, work: Work[T]) -> T:
        """Do *work* on one state of the journal, without keeping writers waiting."""
        return await self.submit(work, writes=False)

    async def write(self, work: Work[T]) -> T:
        """Do *work* in a transaction and return when it would survive a power cut.

        Cancelling the caller does not take it back.
        """
        return await self.submit(work)

    def submit(self, work: Work[T], *, writes: bool = True) -> asyncio.Future[T]:
        if self._closing:
            raise JournalError(f"{self.path}: the journal is closed")
        waiter: asyncio.Future[T] = self._loop.create_future()
        self._waiting.append(_Item(work, writes, waiter))
        if not self._busy:
            # Not at once: other tasks that are ready now may have something to add.
            self._busy = True
            self._loop.call_soon(self._hand_over)
        return waiter

    async def aclose(self) -> None:
        """Commit what waits, close the file and end the thread."""
        self._closing = True
        if not self._busy:
            self._batches.put(None)
        await self._closed.wait()

    def _hand_over(self) -> None:
        batch, self._waiting = self._waiting, []
        self._batches.put(batch)

    def _take_back(self, batch: list[_Item], failure: JournalError | None) -> None:
        for item in batch:
            item.settle(failure)
        if self._waiting:
            self._hand_over()
        elif self._closing:
            self._batches.put(None)
        else:
            self._busy = False

    # From here on: in the thread.

    @cached_property
    def _db(self) -> Database:
        db = open_database(self.path)
        self._resources.callback(db.close)
        self._file = self.path.stat()
        return db

    def _run(self) -> None:
        with self._resources:
            for batch in iter(self._batches.get, None):
                failure = self._commit(batch)
                self._tell(self._take_back, batch, failure)

    def _tell(self, callback: Callable[..., object], *arguments: object) -> None:
        # The loop may have ended; what is recorded stays recorded.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _commit(self, batch: list[_Item]) -> JournalError | None:
        """Return what is wrong with all of them; what is wrong with one is kept there."""
        try:
            with explained(self.path):
                if not self._do_at_once(batch):
                    self._do_one_by_one(batch)
        except JournalError as error:
            return error
        return None

    def _do_at_once(self, batch: list[_Item]) -> bool:
        """Whether every item went well; if one did not, nothing is done."""
        try:
            with transaction(self._db, writes=_writes(batch)):
                for item in batch:
                    item.do(self._db)
                self._check_place()
        except _ItemFailed:
            return False
        return True

    def _do_one_by_one(self, batch: list[_Item]) -> None:
        """Each in a savepoint of its own, so that one which fails takes nobody along."""
        with transaction(self._db, writes=_writes(batch)):
            for item in batch:
                self._db.execute("SAVEPOINT item")
                try:
                    with explained(self.path):
                        item.result = item.work(self._db)
                except Exception as error:
                    # On some errors SQLite gives up the whole transaction.
                    if not self._db.conn.in_transaction:
                        raise
                    item.error = error
                    self._db.execute("ROLLBACK TO item")
                self._db.execute("RELEASE item")
            self._check_place()

    def _check_place(self) -> None:
        """SQLite goes on writing to a file that has lost its name, and says nothing."""
        try:
            found = os.path.samestat(self._file, self.path.stat())
        except FileNotFoundError:
            found = False
        if not found:
            raise JournalError(
                f"{self.path} disappeared while it was in use",
                hint="it was removed or replaced; bring it back and run again",
            )


def _writes(batch: list[_Item]) -> bool:
    return any(item.writes for item in batch)
