"""Every row: what is measured, beside whom, and which bars are to hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.bars import Bar, least, most, within
from benchmarks.link import MBIT, Shape
from benchmarks.place import Place

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB
BOX: Final = 10.0
"""Seconds that a cell gets whose rate alone counts."""

SHORT_BOX: Final = 6.0
"""For one whose rate is the same all the time."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One peer at one place.  *name* is how bars and tables speak of it."""

    name: str
    peer: str
    place: Place
    size: int = GIB
    """Bytes of the file, or of each of the files."""
    options: str = ""
    """As on the command line of `benchmarks.peers`."""
    files: int = 0
    """So many files in a directory; 0: one file."""
    box: float | None = None
    sparse: bool = False
    cold: bool = False
    count_syncs: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    work: str
    cells: tuple[Cell, ...]
    bars: tuple[Bar, ...] = ()

    @property
    def needs_link(self) -> bool:
        return any(cell.place.shape for cell in self.cells)


def behind(
    mbit: float, round_trip: float, *, loss: float = 0.0, flow: float = 0.0
) -> Shape:
    return Shape(
        rate=mbit * MBIT, round_trip=round_trip, loss=loss, flow_rate=flow * MBIT
    )


PLAIN: Final = Place()
TLS: Final = Place(tls=True)
FAST: Final = Place(shape=behind(1000, 0.020))
FAST_TLS: Final = Place(shape=behind(1000, 0.020), tls=True)
FAR: Final = Place(shape=behind(1000, 0.080))
THROTTLED: Final = Place(shape=behind(500, 0.020, flow=80))
THINKING: Final = Place(shape=behind(500, 0.020), think=0.3)
LOSSY: Final = Place(shape=behind(1000, 0.020, loss=0.01))
HARDLY_LOSSY: Final = Place(shape=behind(1000, 0.020, loss=0.001))
SLOW: Final = Place(shape=behind(20, 0.050))

FOUR: Final = "--parallel 4"
LANES: Final = f"--parallel 8 --part-size {8 * MIB}"
AS_OPENAI: Final = f"--parallel 4 --part-size {64 * MIB}"
"""Parts as the official client, curl and the raw sockets cut them."""

EIGHT_MIB: Final = f"--part-size {8 * MIB}"

TLS_LINK: Final = Row(
    "tls-link",
    "TLS, 1 Gbit/s, 20 ms, 700 MiB, digests off",
    (
        Cell("uploader", "uploader-off", FAST_TLS, 700 * MIB),
        Cell("openai sync", "openai-sync", FAST_TLS, 700 * MIB),
        Cell("openai gather(4)", "openai-gather", FAST_TLS, 700 * MIB, FOUR),
        Cell("raw TLS, 8", "raw", FAST_TLS, 700 * MIB, LANES),
    ),
    (
        most("cpu_per_gib", "uploader", 0.85, "openai sync"),
        most("cpu_per_gib", "uploader", 0.65, "openai gather(4)"),
        least("utilisation", "uploader", 0.90),
    ),
)

TLS_LOOPBACK: Final = Row(
    "tls-loopback",
    "TLS, loopback, 1 GiB, digests off",
    (
        Cell("uploader", "uploader-off", TLS),
        Cell("uploader, uvloop", "uploader-off", TLS, GIB, "--uvloop"),
        Cell("openai sync", "openai-sync", TLS),
        Cell("curl", "curl", TLS),
        Cell("raw TLS", "raw", TLS),
    ),
    (
        most("process_cpu", "uploader", 0.70, "openai sync"),
        most("process_wall", "uploader", 0.70, "openai sync"),
        most("cpu_per_gib", "uploader", 1.15, "curl"),
    ),
)

LOOPBACK: Final = Row(
    "loopback",
    "plain loopback, 2 GiB",
    (
        Cell("digests off", "uploader-off", PLAIN, 2 * GIB, AS_OPENAI),
        Cell("digests off, uvloop", "uploader-off", PLAIN, 2 * GIB, "--uvloop"),
        Cell("digests off, own parts", "uploader-off", PLAIN, 2 * GIB),
        Cell("as shipped", "uploader", PLAIN, 2 * GIB),
        Cell("openai sync", "openai-sync", PLAIN, 2 * GIB),
        Cell("openai threads(4)", "openai-threads", PLAIN, 2 * GIB, FOUR),
        Cell("openai async", "openai-async", PLAIN, 2 * GIB, box=BOX),
        Cell("openai gather(4)", "openai-gather", PLAIN, 2 * GIB, FOUR, box=BOX),
        Cell("openai gather", "openai-gather", PLAIN, 2 * GIB, box=BOX),
        Cell("curl", "curl", PLAIN, 2 * GIB),
        Cell("curl --parallel", "curl", PLAIN, 2 * GIB, FOUR),
        Cell("raw sendfile", "raw", PLAIN, 2 * GIB),
        Cell("raw sendfile, 4", "raw", PLAIN, 2 * GIB, FOUR),
        Cell("md5sum", "md5sum", PLAIN, 2 * GIB),
    ),
    (
        least("rate", "digests off", 5.0, "openai sync"),
        most("cpu_per_gib", "digests off", 0.16, "openai sync"),
        most("cpu_per_gib", "digests off", 0.40, "curl"),
        most("cpu_per_gib", "digests off", 1.5, "raw sendfile"),
        most("process_cpu", "digests off", 0.28, "openai sync"),
        most("process_wall", "digests off", 0.33, "openai sync"),
        least("rate", "as shipped", 0.85, "md5sum"),
    ),
)

LINK_20: Final = Row(
    "link-20",
    "1 Gbit/s, 20 ms, as shipped",
    (
        Cell("700 MiB", "uploader", FAST, 700 * MIB),
        Cell("2 GiB", "uploader", FAST, 2 * GIB),
        Cell("openai sync", "openai-sync", FAST, 700 * MIB, box=SHORT_BOX),
        Cell("raw sendfile, 8", "raw", FAST, 700 * MIB, LANES),
    ),
    (
        least("utilisation", "700 MiB", 0.93),
        least("utilisation", "2 GiB", 0.96),
    ),
)

LINK_80: Final = Row(
    "link-80",
    "1 Gbit/s, 80 ms, 1.4 GiB, as shipped",
    (
        Cell("uploader", "uploader", FAR, 1434 * MIB),
        Cell("openai sync", "openai-sync", FAR, 1434 * MIB, box=SHORT_BOX),
    ),
    (
        least("utilisation", "uploader", 0.78),
        least("rate", "uploader", 2.7, "openai sync"),
    ),
)

THROTTLE: Final = Row(
    "throttle",
    "500 Mbit/s, 20 ms, 10 MB/s per connection, as shipped",
    (
        Cell("uploader", "uploader", THROTTLED, 500 * MIB),
        Cell("openai sync", "openai-sync", THROTTLED, 500 * MIB, box=SHORT_BOX),
    ),
    (
        least("utilisation", "uploader", 0.90),
        least("rate", "uploader", 5.5, "openai sync"),
    ),
)

THINK: Final = Row(
    "think",
    "500 Mbit/s, 20 ms, 0.3 s of thinking per part, as shipped",
    (
        Cell("uploader", "uploader", THINKING, 500 * MIB),
        Cell("openai sync", "openai-sync", THINKING, 500 * MIB, box=SHORT_BOX),
    ),
    (least("utilisation", "uploader", 0.88),),
)


LOSS_01: Final = Row(
    "loss-0.1",
    "1 Gbit/s, 20 ms, 0.1 % loss, cubic, as shipped",
    (
        Cell("uploader", "uploader", HARDLY_LOSSY, box=BOX),
        Cell("openai sync", "openai-sync", HARDLY_LOSSY, box=BOX),
    ),
)

LOSS_1: Final = Row(
    "loss-1",
    "1 Gbit/s, 20 ms, 1 % loss, cubic, as shipped",
    (
        Cell("uploader", "uploader", LOSSY, box=BOX),
        Cell("4 at once", "uploader", LOSSY, GIB, FOUR, box=BOX),
        Cell("openai sync", "openai-sync", LOSSY, box=BOX),
    ),
    (
        least("rate", "uploader", 6.0, "4 at once"),
        least("rate", "uploader", 12.0, "openai sync"),
    ),
)

CRAWL: Final = Row(
    "slow",
    "20 Mbit/s, 50 ms, 48 MiB, as shipped",
    (Cell("uploader", "uploader", SLOW, 48 * MIB),),
    (
        least("utilisation", "uploader", 0.97),
        most("backoffs", "uploader", 0.0),
    ),
)

MEMORY: Final = Row(
    "memory",
    "peak memory, plain loopback",
    (
        Cell("command", "command", PLAIN),
        Cell("8 x 8 MiB", "uploader", PLAIN, GIB, LANES),
        Cell(
            "parts of 4 MiB",
            "uploader-off",
            PLAIN,
            GIB,
            f"--parallel 8 --part-size {4 * MIB}",
        ),
        Cell(
            "parts of 64 MiB",
            "uploader-off",
            PLAIN,
            GIB,
            f"--parallel 8 --part-size {64 * MIB}",
        ),
        Cell("1 GiB", "uploader-off", PLAIN, sparse=True),
        Cell("8 GiB", "uploader-off", PLAIN, 8 * GIB, sparse=True),
    ),
    (
        most("rss", "command", 100.0 * MIB),
        most("rss", "8 x 8 MiB", 64.0 * MIB),
        within("rss", "parts of 64 MiB", 4.0 * MIB, "parts of 4 MiB"),
        within("rss", "8 GiB", 4.0 * MIB, "1 GiB"),
    ),
)

LAG: Final = Row(
    "lag",
    "the event loop's lag while sending 1 GiB, digests off",
    (
        Cell("hot", "uploader-off", PLAIN, GIB, "--lag"),
        Cell("cold", "uploader-off", PLAIN, GIB, "--lag", cold=True),
        Cell("TLS", "uploader-off", TLS, GIB, "--lag"),
        Cell("TLS, cold", "uploader-off", TLS, GIB, "--lag", cold=True),
        Cell("as shipped", "uploader", PLAIN, GIB, "--lag"),
    ),
    (
        most("lag_max", "hot", 0.020),
        most("lag_max", "cold", 0.020),
        most("lag_max", "TLS", 0.080),
    ),
)

SMALL_SIZE: Final = 10 * 1024

SMALL: Final = Row(
    "small",
    "1,000 files of 10 KiB, journal durable",
    (
        Cell("uploader", "uploader", PLAIN, SMALL_SIZE, files=1000),
        Cell("openai sync", "openai-sync", PLAIN, SMALL_SIZE, files=1000),
        Cell("uploader, 20 ms", "uploader", FAST, SMALL_SIZE, files=1000),
        Cell(
            "openai sync, 20 ms",
            "openai-sync",
            FAST,
            SMALL_SIZE,
            files=1000,
            box=SHORT_BOX,
        ),
        Cell(
            "openai gather(32), 20 ms",
            "openai-async",
            FAST,
            SMALL_SIZE,
            "--parallel 32",
            files=1000,
            box=BOX,
        ),
    ),
    (
        most("cpu", "uploader", 0.33, "openai sync"),
        most("per_file", "uploader, 20 ms", 1 / 15, "openai sync, 20 ms"),
        # Three round trips for each file, 32 files at once, at 0.6 of that rate.
        most("per_file", "uploader, 20 ms", 3 * 0.020 / 32 / 0.6),
    ),
)

JOURNAL: Final = Row(
    "journal",
    "the journal at parts of 8 MiB; planning a resume among 100,000 parts",
    (
        Cell("1 GiB", "uploader", PLAIN, GIB, EIGHT_MIB),
        Cell("1 GiB, traced", "uploader", PLAIN, GIB, EIGHT_MIB, count_syncs=True),
        Cell("resume", "uploader-plan", PLAIN, 8 * MIB, f"--part-size {MIB}"),
    ),
    (
        most("syncs_per_part", "1 GiB, traced", 1.0),
        most("journal_share", "1 GiB", 0.03),
        most("planned", "resume", 0.150),
    ),
)

RESUME: Final = Row(
    "resume",
    "1 Gbit/s, 20 ms, 700 MiB, as shipped, killed at half and resumed",
    (
        Cell("whole", "uploader", FAST, 700 * MIB),
        Cell("rest", "uploader-stopped", FAST, 700 * MIB),
        Cell("md5sum", "md5sum", PLAIN, 700 * MIB),
    ),
)

START: Final = Row(
    "start",
    "`uploader --version`, and the first byte of an upload",
    (
        Cell("version", "version", PLAIN, MIB),
        Cell("upload", "command", PLAIN, 8 * MIB),
    ),
    (
        most("cpu", "version", 0.25),
        most("first_byte", "upload", 0.7),
    ),
)


def _verified(tls: bool, loop: str, cold: bool) -> Cell:
    name = f"{'TLS' if tls else 'plain'}, {loop}, {'cold' if cold else 'hot'}"
    options = f"--part-size {8 * MIB + 1}" + " --uvloop" * (loop == "uvloop")
    place = Place(tls=tls, verify=True)
    return Cell(name, "uploader-off", place, 200 * MIB, options, cold=cold)


_CHECKED = tuple(
    _verified(tls, loop, cold)
    for tls in (False, True)
    for loop in ("asyncio", "uvloop")
    for cold in (False, True)
)

BYTES: Final = Row(
    "bytes",
    "every design of the sender, 200 MiB checked byte for byte",
    _CHECKED,
    tuple(most("wrong_parts", cell.name, 0.0) for cell in _CHECKED),
)

ROWS: Final = (
    BYTES,
    TLS_LINK,
    TLS_LOOPBACK,
    LOOPBACK,
    LINK_20,
    LINK_80,
    THROTTLE,
    THINK,
    LOSS_01,
    LOSS_1,
    CRAWL,
    MEMORY,
    LAG,
    SMALL,
    JOURNAL,
    RESUME,
    START,
)
