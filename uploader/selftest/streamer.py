"""`python -m uploader.selftest.streamer SOURCE PART_SIZE`: upload, and measure."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from uploader.config import Settings
from uploader.engine import Uploader
from uploader.errors import UploaderError


async def measure(source: Path, part_size: int) -> dict[str, float]:
    settings = replace(Settings.load(), part_size=part_size)
    first = source.with_name("first.bin")
    first.write_bytes(b"everything is imported and warm after this one")
    async with Uploader(settings) as uploader:
        await uploader.upload(first)
        before, start = peak(), time.monotonic()
        # The service compares the MD5 of the whole.
        await uploader.upload(source)
        return {"seconds": time.monotonic() - start, "grown": peak() - before}


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage(): there a process begins with what its parent had.
        [line] = [one for one in status.read_text().splitlines() if "VmHWM" in one]
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    try:
        measures = asyncio.run(measure(Path(sys.argv[1]), int(sys.argv[2])))
    except UploaderError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{json.dumps(measures)}\n")
