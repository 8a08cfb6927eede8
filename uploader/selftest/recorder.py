"""`python -m uploader.selftest.recorder JOURNAL FIRST`: record parts until killed."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from uploader.config import Settings
from uploader.engine import open_journal
from uploader.errors import UploaderError
from uploader.model import (
    Fingerprint,
    Identity,
    Opened,
    PartId,
    Plan,
    SentPart,
    UploadId,
    UploadSpec,
    UploadState,
)

PARTS: Final = 10_000
PATH: Final = Path("/selftest")
IDENTITY: Final = Identity(
    service="selftest", path=PATH, purpose="user_data", filename="selftest"
)
SPEC: Final = UploadSpec(
    filename="selftest", purpose="user_data", size=PARTS, mime_type="text/plain"
)
FINGERPRINT: Final = Fingerprint(size=PARTS, mtime_ns=0, ctime_ns=0, device=0, inode=0)
OPENED: Final = Opened(upload_id=UploadId("upload_selftest"), created_at=0)


async def record(path: Path, first: int) -> None:
    """Print the number of each part as soon as the journal says that it is kept."""
    journal = await open_journal(Settings(journal=path))
    plan = Plan.of_sizes([1] * PARTS)
    now = time.time()
    claim = await journal.begin(IDENTITY, SPEC, FINGERPRINT, plan, now=now)
    if claim.upload.state is UploadState.PLANNED:
        await journal.intend_create(claim.lease, now=now)
        await journal.record_opened(claim.lease, OPENED, now=now)
    for number in range(first, PARTS + 1):
        part = SentPart(number=number, part_id=PartId(f"part_{number}"), sent_at=now)
        await journal.record_part(claim.lease, part)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    try:
        asyncio.run(record(Path(sys.argv[1]), int(sys.argv[2])))
    except UploaderError as error:
        sys.exit(str(error))
