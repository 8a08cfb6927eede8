"""What a peer is asked to do, and the two requests that frame it."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

MIB: Final = 1024 * 1024
PURPOSE: Final = "user_data"
KEY: Final = "sk-benchmark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The same for every peer; what does not concern one is ignored by it."""

    url: str
    path: Path
    """A file; or a directory, all of whose files are to be uploaded."""
    ca: Path | None = None
    parallel: int | None = None
    part_size: int | None = None
    uvloop: bool = False
    lag: bool = False

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Task:
        names = cls.__dataclass_fields__
        return cls(**{name: getattr(options, name) for name in names})

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def paths(self) -> list[Path]:
        return sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]

    def parts(self) -> Iterator[tuple[int, int]]:
        """Offset and size of each part; 64 MiB is what the official client cuts."""
        step = self.part_size or 64 * MIB
        size = self.size
        return ((offset, min(step, size - offset)) for offset in range(0, size, step))

    def tls(self) -> ssl.SSLContext | None:
        if self.ca is None:
            return None
        return ssl.create_default_context(cafile=str(self.ca))


class Frame:
    """`create` and `complete`, around the parts of a peer that only sends bytes."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._url = urlsplit(task.url)
        body = {
            "filename": task.path.name,
            "purpose": PURPOSE,
            "bytes": task.size,
            "mime_type": "application/octet-stream",
        }
        self.upload_id: str = self._post("/uploads", body)["id"]

    @property
    def parts_path(self) -> str:
        return f"{self._url.path}/uploads/{self.upload_id}/parts"

    @property
    def parts_url(self) -> str:
        return f"{self._task.url}/uploads/{self.upload_id}/parts"

    @property
    def address(self) -> tuple[str, int]:
        assert self._url.hostname is not None
        assert self._url.port is not None
        return self._url.hostname, self._url.port

    def complete(self, part_ids: list[str]) -> None:
        body = {"part_ids": part_ids}
        self._post(f"/uploads/{self.upload_id}/complete", body)

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        tls = self._task.tls()
        connection = (
            http.client.HTTPSConnection(*self.address, context=tls)
            if tls
            else http.client.HTTPConnection(*self.address)
        )
        headers = {"Content-Type": "application/json"}
        connection.request("POST", self._url.path + path, json.dumps(body), headers)
        answer = json.load(connection.getresponse())
        connection.close()
        return answer


@dataclass(frozen=True, slots=True)
class Multipart:
    """The head and tail around a part's bytes."""

    head: bytes
    tail: bytes

    @classmethod
    def request(cls, path: str, host: str, size: int) -> Multipart:
        """With the head of the HTTP request in front."""
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="data"; filename="part"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        tail = f"\r\n--{boundary}--\r\n"
        request = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Type: multipart/form-data; boundary={boundary}\r\n"
            f"Content-Length: {len(head) + size + len(tail)}\r\n\r\n"
        )
        return cls((request + head).encode(), tail.encode())


def read_exactly(fd: int, size: int, offset: int) -> bytes:
    data = os.pread(fd, size, offset)
    assert len(data) == size, "the file became shorter"
    return data
