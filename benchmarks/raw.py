"""The bound: blocking sockets, one for each thread, and nothing around them."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from benchmarks.measure import Figures, Meter
from benchmarks.task import Frame, Multipart, Task, read_exactly

SLICE: Final = 1024 * 1024
CHUNK: Final = 256 * 1024
"""For TLS: larger chunks fall out of the processor's cache."""


def send(task: Task, meter: Meter) -> Figures:
    """`os.sendfile` where it is plain, read and encrypt where it is not."""
    frame = Frame(task)
    left = deque(enumerate(task.parts()))
    part_ids: dict[int, str] = {}
    fd = os.open(task.path, os.O_RDONLY)

    def lane() -> None:
        connection = _connect(task, frame)
        while left:
            try:
                number, (offset, size) = left.popleft()
            except IndexError:
                break
            part_ids[number] = _send_part(connection, frame, fd, offset, size)
        connection.close()

    with ThreadPoolExecutor(task.parallel or 1) as threads:
        for lane_ in [threads.submit(lane) for _ in range(task.parallel or 1)]:
            lane_.result()
    frame.complete([part_ids[number] for number in sorted(part_ids)])
    return {"threads": float(threading.active_count())}


def _connect(task: Task, frame: Frame) -> socket.socket:
    connection = socket.create_connection(frame.address)
    tls = task.tls()
    if tls is None:
        return connection
    return tls.wrap_socket(connection, server_hostname=frame.address[0])


def _send_part(
    connection: socket.socket, frame: Frame, fd: int, offset: int, size: int
) -> str:
    host = "{}:{}".format(*frame.address)
    around = Multipart.request(frame.parts_path, host, size)
    connection.sendall(around.head)
    end = offset + size
    while offset < end:
        if isinstance(connection, ssl.SSLSocket):
            chunk = read_exactly(fd, min(CHUNK, end - offset), offset)
            connection.sendall(chunk)
            offset += len(chunk)
        else:
            count = min(SLICE, end - offset)
            offset += os.sendfile(connection.fileno(), fd, offset, count)
    connection.sendall(around.tail)
    return _read_part_id(connection)


def _read_part_id(connection: socket.socket) -> str:
    answer = b""
    while True:
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if length and len(body) == int(length[1]):
            return str(json.loads(body)["id"])
        received = connection.recv(4096)
        assert received, "the sink hung up"
        answer += received
