"""Other programs: curl, md5sum, and the command `uploader` itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figures, Meter
from benchmarks.task import KEY, Frame, Task, read_exactly


def curl(task: Task, meter: Meter) -> Figures:
    """One process, connections kept alive; `--parallel` where several are asked for.

    curl cannot send a range of a file.  It sends one file of the size of a part, again
    and again, and so reads a little warmer than the others do.
    """
    frame = Frame(task)
    count = len(list(task.parts()))
    _, size = next(task.parts())
    with tempfile.TemporaryDirectory() as directory:
        part = Path(directory) / "part"
        fd = os.open(task.path, os.O_RDONLY)
        part.write_bytes(read_exactly(fd, size, 0))
        request = [
            "--silent",
            "--show-error",
            *(["--cacert", str(task.ca)] if task.ca else []),
            *("--header", "Expect:", "--header", f"Authorization: Bearer {KEY}"),
            *("--form", f"data=@{part}", "--write-out", "\n", frame.parts_url),
        ]
        several = ["--parallel", "--parallel-max", str(task.parallel)]
        command = ["curl", *(several if task.parallel else []), *request]
        for _ in range(count - 1):
            command += ["--next", *request]
        meter.start()
        answers = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    part_ids = [json.loads(line)["id"] for line in answers.splitlines() if line]
    frame.complete(part_ids)
    return {"payload": float(size * count)}


def md5sum(task: Task, meter: Meter) -> Figures:
    subprocess.run(["md5sum", task.path], check=True, stdout=subprocess.DEVNULL)
    return {}


def command(task: Task, meter: Meter) -> Figures:
    """`uploader upload FILE`, as from a shell."""
    _uploader(task, "upload", str(task.path))
    return {}


def version(task: Task, meter: Meter) -> Figures:
    _uploader(task, "--version")
    return {}


def _uploader(task: Task, *arguments: str) -> None:
    with tempfile.TemporaryDirectory() as state:
        environ = {
            "OPENAI_BASE_URL": task.url,
            "OPENAI_API_KEY": KEY,
            "UPLOADER_JOURNAL": str(Path(state) / "journal.db"),
            "UPLOADER_CONFIG": os.devnull,
            **({"UPLOADER_CA_BUNDLE": str(task.ca)} if task.ca else {}),
        }
        subprocess.run(
            [sys.executable, "-m", "uploader", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environ},
        )
