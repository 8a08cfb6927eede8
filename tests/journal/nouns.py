"""Uploads and attachments to write about, and a clock that stands where it is put."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from uploader.journal import SqliteJournal
from uploader.message import Attached, AttachmentSpec, FileRef
from uploader.model import (
    CompleteIntent,
    File,
    FileId,
    Fingerprint,
    Identity,
    Lease,
    LocalId,
    Opened,
    PartId,
    Plan,
    Scope,
    SentPart,
    UploadId,
    UploadSpec,
)
from uploader.record import Claim
from uploader.result import Receipt

NOW = 1_700_000_000.0
TTL = 30.0
MONTH = 30 * 86_400.0

IDENTITY = Identity(
    service="https://api.example/v1",
    path=Path("/data/big.bin"),
    purpose="user_data",
    filename="big.bin",
)
SPEC = UploadSpec(
    filename="big.bin", purpose="user_data", size=25, mime_type="text/plain"
)
FINGERPRINT = Fingerprint(size=25, mtime_ns=1, ctime_ns=2, device=3, inode=4)
PLAN = Plan.of_sizes([10, 10, 5])
OPENED = Opened(
    upload_id=UploadId("upload_1"),
    created_at=1_700_000_001,
    expires_at=1_700_003_601,
    request_id="req_1",
)
COMPLETE = CompleteIntent(
    part_ids=(PartId("part_1"), PartId("part_2"), PartId("part_3")),
    md5="d41d8cd98f00b204e9800998ecf8427e",
    asked_at=NOW + 9,
)
FILE = File(
    id=FileId("file_1"),
    bytes=25,
    created_at=1_700_000_001,
    filename="big.bin",
    purpose="user_data",
)
RECEIPT = Receipt(
    upload=LocalId("a2b3c4d5"),
    service=IDENTITY.service,
    path=IDENTITY.path,
    size=25,
    filename="big.bin",
    purpose="user_data",
    file_id=FILE.id,
    upload_id=OPENED.upload_id,
    md5=COMPLETE.md5,
    part_sizes=(25,),
    parts=(SentPart(number=1, part_id=PartId("part_1"), details={"block": "AAA="}),),
    request_ids={"create": "req_1"},
    restarts=0,
    attempts=1,
    bytes_sent=25,
    bytes_needed=25,
    started_at=NOW,
    completed_at=NOW + 9,
)
SCOPE = Scope(conversation_id="conv_1", parent_message_id="msg_0")
FILE_REF = FileRef(
    file_id=FileId("file_9"),
    name="photo.png",
    size=7,
    mime_type="image/png",
    width=640,
    height=480,
    scope="conv_1",
    details={"key": "photos/9"},
)
MESSAGE = AttachmentSpec(
    service=IDENTITY.service,
    target="conversation:conv_1",
    prompt="What is this?",
    model="m-1",
    members=(FILE_REF,),
)
ATTACHED = Attached(
    conversation_id="conv_1",
    message_id="msg_1",
    answer="A photo.",
    response_id="resp_1",
    request_id="req_9",
)


@dataclass
class StandingClock:
    """Time goes on only when a test says so."""

    now: float = NOW

    def wall(self) -> float:
        return self.now

    def elapsed(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def open_journal(
    path: Path,
    *,
    clock: StandingClock | None = None,
    keep_finished: float = MONTH,
) -> SqliteJournal:
    return await SqliteJournal.open(
        path,
        clock=clock or StandingClock(),
        lease_ttl=TTL,
        keep_finished=keep_finished,
    )


def sent(number: int, part_id: str | None = None) -> SentPart:
    return SentPart(
        number=number,
        part_id=PartId(part_id or f"part_{number}"),
        digest=f"blake3:{number:064x}",
        request_id=f"req_{number}",
        attempts=2,
        sent_at=NOW + number,
    )


def named(name: str) -> Identity:
    """Another file, at another path."""
    return replace(IDENTITY, path=Path("/data") / name, filename=name)


async def begin(
    journal: SqliteJournal, identity: Identity = IDENTITY, *, now: float = NOW
) -> Claim:
    spec = replace(SPEC, filename=identity.filename, purpose=identity.purpose)
    return await journal.begin(identity, spec, FINGERPRINT, PLAN, now=now)


async def open_upload(
    journal: SqliteJournal, lease: Lease, opened: Opened = OPENED, *, now: float = NOW
) -> None:
    """Ask and answer create, a second after the twins if there are any."""
    assert await journal.intend_create(lease, now=now) == 0
    await journal.record_opened(lease, opened, now=now + 1)


async def complete(
    journal: SqliteJournal, identity: Identity = IDENTITY, file: File = FILE
) -> Lease:
    """A whole upload, up to its file."""
    lease = (await begin(journal, identity)).lease
    await open_upload(journal, lease)
    await journal.intend_complete(lease, COMPLETE)
    await journal.record_file(lease, file, "answered")
    return lease


async def begin_attachment(
    journal: SqliteJournal, spec: AttachmentSpec = MESSAGE, *, now: float = NOW
) -> Lease:
    return (await journal.begin_attachment(spec, now=now)).lease


async def attach(
    journal: SqliteJournal,
    spec: AttachmentSpec = MESSAGE,
    attached: Attached = ATTACHED,
) -> Lease:
    """A whole attachment, up to its answer."""
    lease = await begin_attachment(journal, spec)
    await journal.intend_attach(lease, cursor="item_1", now=NOW)
    await journal.record_attached(lease, attached)
    return lease
