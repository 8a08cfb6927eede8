"""`python -m uploader.emulator`: try `uploader` without an account."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from uploader.emulator.process import CannotStart, serve
from uploader.emulator.switches import Switches


def main(arguments: Sequence[str] | None = None) -> int:
    options = vars(_parser().parse_args(arguments))
    try:
        serve(options.pop("dir"), **options)
    except CannotStart as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m uploader.emulator",
        description="The services on loopback, with faults by script: OpenAI and Azure under"
        " the URL that is printed, GoAPI at its origin, LLMProvider at /llmprovider/v1.",
        epilog=_switches(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dir", type=Path, required=True, help="where everything is kept")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free one")
    add("--faults", type=Path, metavar="FILE", help="a script: a JSON list of faults")
    add("--control", action="store_true", help="serve /_emulator/ on loopback")
    add("--switch", action="append", default=[], dest="switches", metavar="NAME=VALUE")
    add("--key", action="append", default=[], dest="keys", metavar="KEY")
    for relay in ("goapi", "llmprovider"):
        name = f"{relay}_keys"
        add(f"--{relay}-key", action="append", default=[], dest=name, metavar="KEY")
    add("--client-pid", type=int, metavar="PID", help="the only one faults may kill")
    add("--until-stdin-closes", action="store_true", help="end with the parent")
    return parser


def _switches() -> str:
    fields = dataclasses.fields(Switches)
    lines = (f"  {f.name}={f.default}\n      {f.metadata['why']}" for f in fields)
    return "switches and their defaults:\n" + "\n".join(lines).replace("%", "%%")


if __name__ == "__main__":
    sys.exit(main())
