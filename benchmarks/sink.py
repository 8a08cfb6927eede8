"""A service that costs next to nothing: it takes parts and throws them away.

Threads that block, one for each connection.  Plain bodies are dropped inside the
kernel (MSG_TRUNC), so on loopback they are never copied.  A line `take` on stdin asks
for one JSON line with what happened since the last one; the end of stdin ends it, and
it says what it cost.

    python -m benchmarks.sink [--host ADDRESS] [--tls PEM] [--think SECONDS] [--verify]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import mmap
import re
import socket
import ssl
import sys
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

BUFFER: Final = 256 * KIB
DROP: Final = 4 * MIB
"""How much the kernel may drop in one call.  The buffer is named, never written."""

GATHER: Final = 16 * KIB
"""Not worth waking up for less; well below the first window that a connection has."""

HEAD: Final = 64 * KIB
LIFETIME: Final = 3600


@dataclass(slots=True)
class Traffic:
    """What one connection brought.  Its thread alone writes it."""

    received: int = 0
    payload: int = 0
    parts: int = 0
    requests: int = 0
    first_at: float | None = None
    """When the first byte of a part came, on the clock of `time.monotonic`."""


@dataclass(slots=True)
class Upload:
    filename: str
    purpose: str
    size: int
    created_at: int = field(default_factory=lambda: int(time.time()))
    status: str = "pending"
    file: dict[str, Any] | None = None

    def shown(self, upload_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "id": upload_id,
            "object": "upload",
            "bytes": self.size,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "expires_at": self.created_at + LIFETIME,
        }
        return answer | ({"file": self.file} if self.file else {})


@dataclass(slots=True)
class Part:
    size: int
    sha256: str | None


@dataclass(slots=True)
class Ledger:
    """Uploads and parts, and the traffic of all connections."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    uploads: dict[str, Upload] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    completed: list[list[Part]] = field(default_factory=list)
    traffic: list[Traffic] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _cpu: float = field(default_factory=time.process_time)

    def connect(self) -> Traffic:
        traffic = Traffic()
        with self.lock:
            self.traffic.append(traffic)
        return traffic

    def name(self, kind: str) -> str:
        return f"{kind}{next(self._numbers):032x}"

    def take(self) -> dict[str, Any]:
        """Everything since the last call; then begin anew.

        To be called between two clients: what is still open is not counted again.
        """
        with self.lock:
            traffic, self.traffic = self.traffic, []
            completed, self.completed = self.completed, []
            self.uploads.clear()
            self.parts.clear()
            self.files.clear()
        cpu, before = time.process_time(), self._cpu
        self._cpu = cpu
        return {
            "received": sum(each.received for each in traffic),
            "payload": sum(each.payload for each in traffic),
            "parts": sum(each.parts for each in traffic),
            "requests": sum(each.requests for each in traffic),
            "connections": len(traffic),
            "first_at": min(
                (each.first_at for each in traffic if each.first_at), default=None
            ),
            "cpu": cpu - before,
            "completed": [
                [[part.size, part.sha256] for part in parts] for parts in completed
            ],
        }


class Stream:
    """One connection as a row of bytes."""

    def __init__(self, connection: socket.socket, traffic: Traffic) -> None:
        self._connection = connection
        self._traffic = traffic
        self._ahead = bytearray()
        self._truncates = not isinstance(connection, ssl.SSLSocket)
        self._buffer = memoryview(bytearray(BUFFER))

    def until(self, mark: bytes) -> bytes:
        """Everything up to and including *mark*; empty when the peer has gone."""
        searched = 0
        while (found := self._ahead.find(mark, searched)) < 0:
            searched = max(0, len(self._ahead) - len(mark))
            if len(self._ahead) > HEAD:
                raise ValueError("a head without an end")
            if not self._more(HEAD):
                return b""
        return self._cut(found + len(mark))

    def take(self, size: int) -> bytes:
        while len(self._ahead) < size:
            if not self._more(min(BUFFER, size - len(self._ahead))):
                raise ConnectionResetError
        return self._cut(size)

    def drop(self, size: int, digest: Any = None) -> None:
        """Throw *size* bytes of payload away, as they come."""
        start = self._cut(min(size, len(self._ahead)))
        if digest is not None:
            digest.update(start)
        self._traffic.payload += len(start)
        left = size - len(start)
        truncates = self._truncates and digest is None
        target = NEVER_WRITTEN if truncates else self._buffer
        flags = (socket.MSG_TRUNC,) if truncates else ()
        # TLS reads records, and would wait for more than the peer sends.
        if self._truncates:
            self._wake_at(GATHER)
        while left:
            if left <= 2 * GATHER:
                # One call may take less than it waits for, and then wait again.
                self._wake_at(1)
            count = self._connection.recv_into(target, min(left, len(target)), *flags)
            if count == 0:
                raise ConnectionResetError
            if digest is not None:
                digest.update(self._buffer[:count])
            self._traffic.payload += count
            self._traffic.received += count
            left -= count
        self._wake_at(1)

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def _wake_at(self, size: int) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    def _more(self, size: int) -> int:
        data = self._connection.recv(size)
        self._ahead += data
        self._traffic.received += len(data)
        return len(data)

    def _cut(self, size: int) -> bytes:
        taken = bytes(self._ahead[:size])
        del self._ahead[:size]
        return taken


class Service:
    """The Uploads API, as far as an uploader that makes no mistake can tell."""

    def __init__(self, ledger: Ledger, *, think: float, verify: bool) -> None:
        self._ledger = ledger
        self._think = think
        self._verify = verify

    def serve(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Answer until the peer goes; it may go at any moment."""
        traffic = self._ledger.connect()
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            stream = Stream(connection, traffic)
            while head := stream.until(b"\r\n\r\n"):
                traffic.requests += 1
                stream.send(self._answer(stream, traffic, head))
        except OSError:
            pass
        finally:
            connection.close()

    def _answer(self, stream: Stream, traffic: Traffic, head: bytes) -> bytes:
        request, _, rest = head.partition(b"\r\n")
        method, target, _ = request.decode().split(" ", 2)
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (
                line.partition(":") for line in rest.decode("latin-1").splitlines()
            )
        }
        if "chunked" in fields.get("transfer-encoding", ""):
            return _response({}, HTTPStatus.LENGTH_REQUIRED)
        if fields.get("expect"):
            stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = int(fields.get("content-length", 0))
        path = target.partition("?")[0].removeprefix("/v1").strip("/").split("/")
        match method, path:
            case "POST", ["uploads", upload_id, "parts"]:
                return _response(
                    self._take_part(stream, traffic, upload_id, fields, size)
                )
            case "POST", ["files"]:
                part = self._receive(stream, traffic, fields, size)
                now = int(time.time())
                return _response(self._file("upload", "user_data", part.size, now))
            case "POST", ["uploads"]:
                return _response(self._create(json.loads(stream.take(size))))
            case "POST", ["uploads", upload_id, "complete"]:
                body = json.loads(stream.take(size))
                return _response(self._complete(upload_id, body))
            case "POST", ["uploads", upload_id, "cancel"]:
                stream.take(size)
                upload = self._ledger.uploads[upload_id]
                upload.status = "cancelled"
                return _response(upload.shown(upload_id))
            case "GET", ["files"]:
                files = list(self._ledger.files.values())
                return _response({"object": "list", "data": files, "has_more": False})
            case "GET", ["files", file_id] if file_id in self._ledger.files:
                return _response(self._ledger.files[file_id])
        stream.take(size)
        return _response({"error": {"message": target}}, HTTPStatus.NOT_FOUND)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        upload_id = self._ledger.name("upload_")
        upload = Upload(body["filename"], body["purpose"], body["bytes"])
        self._ledger.uploads[upload_id] = upload
        return upload.shown(upload_id)

    def _take_part(
        self,
        stream: Stream,
        traffic: Traffic,
        upload_id: str,
        fields: dict[str, str],
        size: int,
    ) -> dict[str, Any]:
        part = self._receive(stream, traffic, fields, size)
        if self._think:
            time.sleep(self._think)
        part_id = self._ledger.name("part_")
        self._ledger.parts[part_id] = part
        return {
            "id": part_id,
            "object": "upload.part",
            "created_at": int(time.time()),
            "upload_id": upload_id,
        }

    def _receive(
        self, stream: Stream, traffic: Traffic, fields: dict[str, str], size: int
    ) -> Part:
        """A multipart body whose last field is the file."""
        found = re.search(r'boundary="?([^";]+)', fields["content-type"])
        assert found is not None
        tail = len(f"\r\n--{found[1]}--\r\n")
        left = size
        while True:
            head = stream.until(b"\r\n\r\n")
            left -= len(head)
            if b"filename=" in head:
                break
        traffic.first_at = traffic.first_at or time.monotonic()
        digest = hashlib.sha256() if self._verify else None
        stream.drop(left - tail, digest)
        stream.take(tail)
        traffic.parts += 1
        return Part(left - tail, digest.hexdigest() if digest else None)

    def _complete(self, upload_id: str, body: dict[str, Any]) -> dict[str, Any]:
        ledger = self._ledger
        upload = ledger.uploads[upload_id]
        parts = [ledger.parts.pop(part_id) for part_id in body["part_ids"]]
        ledger.completed.append(parts)
        size = sum(part.size for part in parts)
        upload.status = "completed"
        upload.file = self._file(
            upload.filename, upload.purpose, size, upload.created_at
        )
        return upload.shown(upload_id)

    def _file(
        self, filename: str, purpose: str, size: int, created_at: int
    ) -> dict[str, Any]:
        file_id = self._ledger.name("file-")
        file = {
            "object": "file",
            "id": file_id,
            "purpose": purpose,
            "filename": filename,
            "bytes": size,
            "created_at": created_at,
            "expires_at": None,
            "status": "processed",
            "status_details": None,
        }
        self._ledger.files[file_id] = file
        return file


NEVER_WRITTEN: Final = memoryview(mmap.mmap(-1, DROP))


def _response(body: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> bytes:
    content = json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status} {status.phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    ).encode() + content


def _accept(
    listener: socket.socket, service: Service, tls: ssl.SSLContext | None
) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(
            target=service.serve, args=(connection, tls), daemon=True
        ).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--tls", help="certificate and key, in one PEM file")
    parser.add_argument("--think", type=float, default=0.0)
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    tls = None
    if options.tls:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.tls)
    ledger = Ledger()
    service = Service(ledger, think=options.think, verify=options.verify)
    listener = socket.create_server((options.host, 0), backlog=1024)
    scheme = "https" if tls else "http"
    print(
        f"{scheme}://{options.host}:{listener.getsockname()[1]}/v1",
        flush=True,
    )
    threading.Thread(target=_accept, args=(listener, service, tls), daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(ledger.take()), flush=True)
    print(f"the sink took {time.process_time():.1f} s of CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
