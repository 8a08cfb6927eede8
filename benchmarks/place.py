"""Where a cell is measured: a sink, on loopback or behind a link."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.link import SERVER, Link, Shape
from benchmarks.measure import Figures

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 90.0
"""Seconds after which a cell that does not end is given up."""


class CellFailed(Exception):
    """The peer did not do what it was asked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What lies between a client and the sink, and how the sink behaves."""

    shape: Shape | None = None
    tls: bool = False
    think: float = 0.0
    verify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One run of one peer."""

    peer: str
    path: Path
    options: tuple[str, ...] = ()
    box: float | None = None
    cold: bool = False
    count_syncs: bool = False


class Ground:
    """A place that stands: the sink runs, and the link if there is one."""

    def __init__(self, place: Place, work: Path, certificate: Path) -> None:
        self.place = place
        self._work = work
        self._certificate = certificate
        self._resources = ExitStack()
        self._link: Link | None = None

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            if self.place.shape is not None:
                self._link = undo.enter_context(Link(self.place.shape))
            command = [sys.executable, "-m", "benchmarks.sink"]
            command += ["--think", str(self.place.think)]
            command += ["--tls", str(self._certificate)] if self.place.tls else []
            command += ["--verify"] if self.place.verify else []
            if self._link is not None:
                command = self._link.at_server([*command, "--host", SERVER])
            self._sink = undo.enter_context(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    cwd=ROOT,
                )
            )
            assert self._sink.stdin is not None
            undo.callback(self._sink.stdin.close)
            self._url = self._line().strip()
            self._resources = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def run(self, order: Order) -> tuple[Figures, list[list[tuple[int, str]]]]:
        """Measure once.  Also returns size and digest of each part, by upload.

        Raises `CellFailed` when less arrived than was to be sent.
        """
        self._take()
        if self._link is not None:
            self._link.forget()
            self._link.counters()
        if order.cold:
            _evict(order.path)
        scratch = self._work / "scratch"
        scratch.mkdir()
        try:
            figures = self._measure(order, scratch)
        finally:
            shutil.rmtree(scratch)
        taken = self._take()
        uploads = taken["completed"]
        _check(order, figures, taken)
        return self._derived(figures, taken), uploads

    def _measure(self, order: Order, scratch: Path) -> Figures:
        command = [sys.executable, "-m", "benchmarks.peers", order.peer]
        command += ["--url", self._url, "--path", str(order.path), *order.options]
        command += ["--box", str(order.box)] if order.box else []
        command += ["--ca", str(self._certificate)] if self.place.tls else []
        syncs = scratch / "syncs"
        if order.count_syncs:
            trace = "trace=fsync,fdatasync,sync_file_range,msync"
            command = ["strace", "-f", "-o", str(syncs), "-e", trace, *command]
        if self._link is not None:
            command = self._link.at_client(command)
        started_at = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=_environ(scratch, self._certificate if self.place.tls else None),
            # With its own group, what it runs can be ended together with it.
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise CellFailed(f"no end after {PATIENCE:g} s") from None
        finally:
            _end_group(process)
        if process.returncode or not stdout:
            raise CellFailed(stderr.strip()[-2000:])
        figures: Figures = json.loads(stdout.splitlines()[-1])
        figures["process_wall"] = time.monotonic() - started_at
        figures["started_at"] = started_at
        if order.count_syncs:
            lines = syncs.read_text().splitlines()
            figures["syncs"] = float(sum("sync(" in line for line in lines))
        return figures

    def _derived(self, figures: Figures, taken: dict[str, Any]) -> Figures:
        started_at = figures.pop("started_at")
        # A peer that knows better says so: it sent nothing, or more than is counted.
        payload, wall = figures.get("payload", taken["payload"]), figures["wall"]
        figures["sink_cpu"] = taken["cpu"]
        figures["connections"] = taken["connections"]
        if taken["first_at"] is not None:
            figures["first_byte"] = taken["first_at"] - started_at
        if files := len(taken["completed"]):
            figures["per_file"] = wall / files
        if "syncs" in figures:
            figures["syncs_per_part"] = figures["syncs"] / figures["parts"]
        if "journal_cpu" in figures:
            figures["journal_share"] = figures["journal_cpu"] / figures["cpu"]
        if payload:
            figures["payload"] = payload
            figures["rate"] = payload / wall
            figures["cpu_per_gib"] = figures["cpu"] * 2**30 / payload
        sent = self._link.counters()["bytes"] if self._link else taken["received"]
        if taken["payload"]:
            figures["wire"] = sent / taken["payload"]
        if self.place.shape is not None:
            figures["utilisation"] = payload / wall / self.place.shape.goodput
        return figures

    def _take(self) -> dict[str, Any]:
        assert self._sink.stdin is not None
        self._sink.stdin.write("take\n")
        self._sink.stdin.flush()
        taken: dict[str, Any] = json.loads(self._line())
        return taken

    def _line(self) -> str:
        assert self._sink.stdout is not None
        line = self._sink.stdout.readline()
        if not line:
            raise OSError(f"the sink ended with {self._sink.wait()}")
        return line


def _check(order: Order, figures: Figures, taken: dict[str, Any]) -> None:
    if order.box is not None or order.peer in ("md5sum", "version", "uploader-plan"):
        return
    paths = [order.path] if order.path.is_file() else order.path.iterdir()
    expected = sum(path.stat().st_size for path in paths)
    completed = sum(size for parts in taken["completed"] for size, _ in parts)
    if order.peer == "curl":
        # It sends whole parts only.
        expected = int(figures["payload"])
    if completed != expected:
        raise CellFailed(f"{completed} bytes completed, not {expected}")


def _environ(scratch: Path, ca: Path | None) -> dict[str, str]:
    """No proxy, no key and no settings of the user's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UPLOADER_", "OPENAI_"))
        and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "TMPDIR": str(scratch),
        **({"SSL_CERT_FILE": str(ca)} if ca else {}),
    }


def _end_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _evict(path: Path) -> None:
    """Out of the page cache, so that it has to come from the disk."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)
