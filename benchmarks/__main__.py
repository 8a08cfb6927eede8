"""Measure rows, in rounds, and say which bars hold.

python -m benchmarks [--rows NAME ...] [--rounds 3] [--scale 1.0]
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks import link, machine
from benchmarks.files import Files, wrong_parts
from benchmarks.measure import Figures
from benchmarks.place import CellFailed, Ground, Order, Place
from benchmarks.report import Results, save, text_of
from benchmarks.rows import ROWS, Cell, Row

RESULTS: Final = Path(__file__).with_name("results")
LEAST: Final = 64 * 1024
"""Smaller files are not scaled: there the count of requests is what is measured."""


class Run:
    """One run over some rows, in one working directory."""

    def __init__(self, work: Path, results: Results, rounds: int) -> None:
        self._work = work
        self._files = Files(work)
        self._certificate = _make_certificate(work)
        self._results = results
        self._rounds = rounds

    def measure(self, row: Row) -> None:
        """Every cell in turn, then every cell again."""
        measured: dict[str, list[Figures | None]] = {
            cell.name: [] for cell in row.cells
        }
        before = machine.load()
        with ExitStack() as stack:
            grounds = self._open(row, stack)
            paths = {cell: self._path(cell) for cell in row.cells}
            for number in range(1, self._rounds + 1):
                for cell in row.cells:
                    if sys.stdout.isatty():
                        print(f"\r{row.name} {number}: {cell.name}\033[K", end="\r")
                    figures = self._once(row, cell, grounds[cell.place], paths[cell])
                    measured[cell.name].append(figures)
        self._results.rounds[row.name] = measured
        self._results.load[row.name] = (before, machine.load())
        print(text_of(row, measured), flush=True)

    def _open(self, row: Row, stack: ExitStack) -> dict[Place, Ground]:
        return {
            place: stack.enter_context(Ground(place, self._work, self._certificate))
            for place in {cell.place for cell in row.cells}
        }

    def _once(self, row: Row, cell: Cell, ground: Ground, path: Path) -> Figures | None:
        order = Order(
            peer=cell.peer,
            path=path,
            options=tuple(cell.options.split()),
            box=cell.box,
            cold=cell.cold,
            count_syncs=cell.count_syncs,
        )
        try:
            figures, uploads = ground.run(order)
        except CellFailed as error:
            print(f"{row.name}: {cell.name} failed: {error}")
            self._results.failures.setdefault(row.name, []).append(
                f"{cell.name}: {error}"
            )
            return None
        if cell.place.verify:
            figures["wrong_parts"] = sum(wrong_parts(path, each) for each in uploads)
        return figures

    def _path(self, cell: Cell) -> Path:
        if cell.files:
            return self._files.many(cell.files, cell.size)
        size = cell.size
        if size > LEAST:
            size = max(LEAST, int(size * self._results.scale))
        return self._files.file(size, sparse=cell.sparse)


def obstacle(row: Row) -> str | None:
    """Why *row* cannot be measured here; None when it can."""
    if row.needs_link and (reason := link.missing()):
        return reason
    programs = {"openssl"} if any(cell.place.tls for cell in row.cells) else set()
    programs |= {cell.peer for cell in row.cells} & {"curl", "md5sum"}
    if any(cell.count_syncs for cell in row.cells):
        programs.add("strace")
    for program in sorted(programs):
        if shutil.which(program) is None:
            return f"needs the program {program}"
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    names = [row.name for row in ROWS]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the large files")
    parser.add_argument("--work", type=Path, help="where the files are made")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    rows = [row for row in ROWS if row.name in options.rows]
    results = Results(machine=machine.describe(), scale=options.scale)
    started_at = time.monotonic()
    # As with Ctrl-C: namespaces and processes are not left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with tempfile.TemporaryDirectory(dir=options.work) as directory:
        run = Run(Path(directory), results, options.rounds)
        for row in rows:
            if reason := obstacle(row):
                results.skipped[row.name] = reason
                print(f"\n{row.name}: skipped: {reason}")
            else:
                run.measure(row)
            results.seconds = time.monotonic() - started_at
            save(results, rows, options.results)
    print(f"\n{results.seconds / 60:.1f} minutes; {options.results}/latest.md")


def _make_certificate(work: Path) -> Path:
    """Certificate and key in one file, for the sink's addresses; valid for a day."""
    path = work / "sink.pem"
    if shutil.which("openssl") is None:
        return path
    extensions = (
        f"subjectAltName=IP:127.0.0.1,IP:{link.SERVER}",
        "basicConstraints=critical,CA:TRUE",
        "keyUsage=critical,digitalSignature,keyCertSign",
    )
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    command += f" -days 1 -subj /CN=sink -keyout {path} -out {path}.crt"
    for extension in extensions:
        command += f" -addext {extension}"
    subprocess.run(command.split(), check=True, capture_output=True)
    with path.open("ab") as file:
        file.write(Path(f"{path}.crt").read_bytes())
    return path


if __name__ == "__main__":
    main()
