"""Break each promise on purpose: which test notices?

    python -m tests.mutations [NAME...]

Each mutation is made in a copy of the package, one at a time, and the tests that are
there for it are run against the copy.  Ends with 1 if one was not noticed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]

LIFE = "tests/test_life.py"
CLOCK = "tests/faults/test_clock.py"
KILL = "tests/crash/test_kill.py"
LEASES = "tests/journal/test_leases.py"
FILE = "tests/journal/test_file.py"
CONVERSATION = "tests/test_conversation.py"
DISK = "tests/faults/test_disk.py"


INTENT = """\
            await machine.journal.intend_complete(
                self.run.hold.lease, replace(intent, asked_at=machine.clock.wall())
            )
"""
ASK_FIRST = f"""\
            file = await machine.backend.complete(
                upload.spec, opened, parts, intent.md5
            )
{INTENT}            return file
            await machine.backend.complete("""


PUT = """\
        put = await machine.retry(
"""
EARLY = """\
        early = SentPart(number=part.number, part_id=PartId(f"early_{part.number}"))
        await machine.journal.record_part(self.run.hold.lease, early)
"""
REFUSED = """\
        except (RequestRejected, UploadExpired, UnexpectedAnswer) as error:
            await self._look_into(error)
"""
GONE = """\
        except UploadExpired as error:
            await self.run.restart(str(error))
"""


@dataclass(frozen=True, slots=True)
class Mutation:
    """In *module* the text on the left of each edit becomes that on the right.

    Each of *tests* has to notice it, by itself.
    """

    name: str
    module: str
    edits: Sequence[tuple[str, str]]
    tests: Sequence[str]


MUTATIONS: Final = (
    Mutation(
        "skip the intent",
        "completion.py",
        [(INTENT, "")],
        (LIFE, KILL),
    ),
    Mutation(
        "the intent after the asking",
        "completion.py",
        [
            (INTENT, ""),
            ("            return await machine.backend.complete(", ASK_FIRST),
        ],
        (LIFE,),
    ),
    Mutation(
        "record before sending",
        "worker.py",
        [(PUT, f"{EARLY}{PUT}")],
        (LIFE, KILL),
    ),
    Mutation(
        "ignore the epoch",
        "journal/leases.py",
        [
            (
                "subject = :subject AND owner = :owner AND epoch = :epoch",
                "subject = :subject AND :owner = :owner AND :epoch = :epoch",
            )
        ],
        (LIFE, LEASES),
    ),
    Mutation(
        "re-send all",
        "planner.py",
        [("if part.number not in recorded", "if -part.number not in recorded")],
        (LIFE, KILL),
    ),
    Mutation(
        "treat 410 at complete as a restart",
        "completion.py",
        [(REFUSED, f"{GONE}{REFUSED}")],
        (LIFE, CLOCK),
    ),
    Mutation(
        "find without cursor",
        "targets/conversation.py",
        [
            ("if item.id == message.cursor:", "if item.id == 0:"),
            ("if message.cursor is None and not page", "if not page"),
        ],
        (CONVERSATION,),
    ),
    Mutation(
        "synchronous=OFF",
        "journal/schema.py",
        [("PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF")],
        (FILE, DISK),
    ),
    Mutation(
        "synchronous=NORMAL",
        "journal/schema.py",
        [("PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL")],
        (FILE, DISK),
    ),
)


def apply(mutation: Mutation, package: Path) -> None:
    path = package / mutation.module
    text = path.read_text()
    for old, new in mutation.edits:
        if old not in text:
            raise SystemExit(f"{mutation.name}: {mutation.module} changed; adapt this")
        text = text.replace(old, new)
    path.write_text(text)


def failures(test: str, mutation: Mutation) -> list[str]:
    """The tests of one file that fail, once the mutation is made."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
        for name in ("uploader", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, copy / name)
        apply(mutation, copy / "uploader")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", test]
        command += ["-p", "no:cacheprovider"]
        done = subprocess.run(
            command,
            cwd=copy,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            env={**os.environ, "LIFE_SHRINK": "no"},
        )
    found = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutation.name}: {test} cannot run\n{done.stdout[-2000:]}")
    return [name.partition("::")[2] for name in found]


def main(names: Sequence[str]) -> int:
    """Report each mutation, with the test that noticed it."""
    unnoticed = 0
    for mutation in MUTATIONS:
        if names and mutation.name not in names:
            continue
        for test in mutation.tests:
            found = failures(test, mutation)
            unnoticed += not found
            fact = f"noticed by {found[0]}" if found else "NOT NOTICED"
            print(f"{mutation.name}: {test}: {fact}", flush=True)  # noqa: T201
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
