"""Other programs: curl, md5sum, and the command `uploader` itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Figures, Meter
from benchmarks.task import KEY, Frame, Task


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
        _copy(task.path, part, size)
        request = [
            "--silent",
            "--show-error",
            "--no-progress-meter",
            *(["--cacert", str(task.ca)] if task.ca else []),
            *("--header", "Expect:", "--header", f"Authorization: Bearer {KEY}"),
            *("--form", f"data=@{part}", frame.parts_url),
        ]
        several = ["--parallel", "--parallel-max", str(task.parallel)]
        command = ["curl", *(several if task.parallel else []), *request]
        for _ in range(count - 1):
            command += ["--next", *request]
        meter.start()
        answers = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    # Answers of parallel requests may stand in one line.
    frame.complete(re.findall(r'"id": "(\w+)"', answers))
    return {"payload": float(size * count)}


def md5sum(task: Task, meter: Meter) -> Figures:
    subprocess.run(["md5sum", task.path], check=True, stdout=subprocess.DEVNULL)
    return {"payload": float(task.size)}


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


def _copy(source: Path, target: Path, size: int) -> None:
    # Not through this process: curl would inherit its peak of memory.
    with source.open("rb") as reading, target.open("wb") as writing:
        while (offset := writing.tell()) < size:
            left = size - offset
            os.sendfile(writing.fileno(), reading.fileno(), offset, left)
            writing.seek(0, os.SEEK_END)
