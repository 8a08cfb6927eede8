"""The journal as a SQLite file.  Nothing above this package sees SQL."""

from uploader.journal.sqlite import SqliteJournal

__all__ = ["SqliteJournal"]
