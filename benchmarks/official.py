"""The official client: its helper, and what people write around it."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import openai.resources.uploads  # it is loaded at its first use otherwise

from benchmarks.measure import Figures, Meter
from benchmarks.task import KEY, PURPOSE, Task, read_exactly

TYPE = "application/octet-stream"


def sync(task: Task, meter: Meter) -> Figures:
    """`upload_file_chunked`, as it is documented; one file after the other."""
    with openai.OpenAI(base_url=task.url, api_key=KEY) as client:
        for path in task.paths:
            client.uploads.upload_file_chunked(
                file=path, mime_type=TYPE, purpose=PURPOSE, part_size=task.part_size
            )
    return {}


def threads(task: Task, meter: Meter) -> Figures:
    """The sync client, its parts sent by a pool of threads."""
    fd = os.open(task.path, os.O_RDONLY)
    with (
        openai.OpenAI(base_url=task.url, api_key=KEY) as client,
        ThreadPoolExecutor(task.parallel or 4) as pool,
    ):
        upload = client.uploads.create(
            bytes=task.size, filename=task.path.name, mime_type=TYPE, purpose=PURPOSE
        )

        def send(part: tuple[int, int]) -> str:
            offset, size = part
            data = read_exactly(fd, size, offset)
            return client.uploads.parts.create(upload_id=upload.id, data=data).id

        part_ids = list(pool.map(send, task.parts()))
        client.uploads.complete(upload.id, part_ids=part_ids)
    return {}


def helper(task: Task, meter: Meter) -> Figures:
    """The async client's `upload_file_chunked`; several files at once."""

    async def work() -> None:
        async with openai.AsyncOpenAI(base_url=task.url, api_key=KEY) as client:
            slots = asyncio.Semaphore(task.parallel or 1)

            async def send(path: Path) -> None:
                async with slots:
                    await client.uploads.upload_file_chunked(
                        file=path,
                        mime_type=TYPE,
                        purpose=PURPOSE,
                        part_size=task.part_size,
                    )

            await asyncio.gather(*map(send, task.paths))

    asyncio.run(work())
    return {}


def gather(task: Task, meter: Meter) -> Figures:
    """The async client in `asyncio.gather`: so many parts at once, or all."""

    async def work() -> None:
        fd = os.open(task.path, os.O_RDONLY)
        parts = list(task.parts())
        slots = asyncio.Semaphore(task.parallel or len(parts))
        async with openai.AsyncOpenAI(base_url=task.url, api_key=KEY) as client:
            upload = await client.uploads.create(
                bytes=task.size,
                filename=task.path.name,
                mime_type=TYPE,
                purpose=PURPOSE,
            )

            async def send(offset: int, size: int) -> str:
                async with slots:
                    data = read_exactly(fd, size, offset)
                    part = await client.uploads.parts.create(
                        upload_id=upload.id, data=data
                    )
                    return part.id

            part_ids = await asyncio.gather(*(send(*part) for part in parts))
            await client.uploads.complete(upload.id, part_ids=part_ids)

    asyncio.run(work())
    return {}
