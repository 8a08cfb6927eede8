"""One peer, one upload, one JSON line with what it cost.

python -m benchmarks.peers NAME --url URL --path FILE [--ca PEM] [--parallel N] ...
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

from benchmarks.measure import Figures, Meter
from benchmarks.task import Task

Peer = Callable[[Task, Meter], Figures]

PEERS: Final = {
    "uploader": "own:shipped",
    "uploader-off": "own:digests_off",
    "uploader-stopped": "own:stopped",
    "uploader-plan": "own:plan_resume",
    "openai-sync": "official:sync",
    "openai-async": "official:helper",
    "openai-threads": "official:threads",
    "openai-gather": "official:gather",
    "raw": "raw:send",
    "curl": "programs:curl",
    "md5sum": "programs:md5sum",
    "command": "programs:command",
    "version": "programs:version",
}
"""Where each peer stands.  A process imports its own and no other."""


def find(name: str) -> tuple[Peer, bool]:
    """The peer, and whether it is a program of its own."""
    module, _, function = PEERS[name].partition(":")
    peer: Peer = getattr(import_module(f"benchmarks.{module}"), function)
    return peer, module == "programs"


def tell(figures: Figures) -> None:
    print(json.dumps(figures), flush=True)


def stop_after(seconds: float, meter: Meter) -> None:
    """End this process in mid-upload; its rate is what counts.

    A program that it runs is left to the driver, which ends the whole group.
    """

    def stop() -> None:
        time.sleep(seconds)
        tell(meter.read() | {"boxed": 1.0})
        os._exit(0)

    threading.Thread(target=stop, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("--url", required=True)
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--ca", type=Path)
    parser.add_argument("--parallel", type=int)
    parser.add_argument("--part-size", type=int)
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--lag", action="store_true", help="watch the event loop")
    parser.add_argument("--box", type=float, help="stop after so many seconds")
    options = parser.parse_args()
    peer, is_program = find(options.peer)
    meter = Meter(children=is_program)
    meter.start()
    if options.box:
        stop_after(options.box, meter)
    figures = peer(Task.from_options(options), meter)
    tell(meter.read() | figures)
    # Closing files and threads would be counted by whoever waits for the end.
    sys.stdout.flush()


if __name__ == "__main__":
    main()
