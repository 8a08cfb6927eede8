"""A large file goes out at the rate of this machine, in little memory."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from uploader.bundled import running_emulator
from uploader.model import MIB
from uploader.selftest.ground import PATIENCE, environment, last_error
from uploader.selftest.report import Broken, Check, Say
from uploader.tables import size as readable

SIZE: Final = 256 * MIB
PART_SIZE: Final = 64 * MIB
SPARE: Final = 64 * MIB


def streaming_check(size: int = SIZE, part_size: int = PART_SIZE) -> Check:
    async def run(directory: Path, say: Say) -> str:
        needed, free = 2 * size + SPARE, shutil.disk_usage(directory).free
        if free < needed:
            raise Broken(f"it takes {readable(needed)}; {readable(free)} are free")
        source = directory / "source.bin"
        await asyncio.to_thread(_write, source, size)
        say(f"sending {readable(size)} in parts of {readable(part_size)}")
        with ExitStack() as stack:
            url = stack.enter_context(running_emulator(directory / "service"))
            seconds, memory = await _send(url, directory, source, part_size)
        if memory >= part_size:
            raise Broken(
                f"memory grew by {readable(memory)}; parts have {readable(part_size)}"
            )
        return (
            f"{readable(size)} in parts of {readable(part_size)} at"
            f" {readable(size / seconds)}/s; memory grew by {readable(memory)}"
        )

    return Check("streaming", run)


async def _send(
    url: str, directory: Path, source: Path, part_size: int
) -> tuple[float, int]:
    """The seconds that it took, and by how many bytes the process grew."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader.selftest.streamer"),
        *(str(source), str(part_size)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(url, directory / "journal.db"),
    )
    try:
        async with asyncio.timeout(PATIENCE):
            said, complaint = await process.communicate()
    except TimeoutError:
        raise Broken(f"it was not done in {PATIENCE:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Broken(f"it failed: {last_error(complaint)}")
    measured = json.loads(said)
    return float(measured["seconds"]), int(measured["grown"])


def _write(path: Path, size: int) -> None:
    """Blocks that differ, so that no file system makes one of them."""
    block = bytearray(os.urandom(MIB))
    with path.open("wb") as file:
        for number in range(0, size, MIB):
            block[:8] = number.to_bytes(8, "big")
            file.write(block[: size - number])
