"""A journal with a crowd of unfinished uploads in it."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Final

from uploader import Uploader, UploaderError

UPLOADS: Final = 12_500
PARTS: Final = 8

COPY_UPLOAD: Final = "INSERT INTO uploads SELECT {columns} FROM uploads WHERE id = ?"
COPY_PARTS: Final = "INSERT INTO parts SELECT {columns} FROM parts WHERE upload = ?"


async def fill(uploader: Uploader, path: Path) -> None:
    """Stop one real upload on its way, and copy its rows."""
    raise NotImplementedError


assert asyncio
assert sqlite3
assert UploaderError
