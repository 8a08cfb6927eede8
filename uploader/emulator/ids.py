"""Ids as the services make them.  No client should read anything out of them."""

import base64
import secrets
import string
import uuid
from typing import Final

BASE62: Final = string.ascii_letters + string.digits
# Without 0, O, I and l, which people confuse.
BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def upload_id(now: float) -> str:
    return f"upload_{_stamped(now)}"


def part_id(now: float) -> str:
    return f"part_{_stamped(now)}"


def file_id() -> str:
    return "file-" + "".join(secrets.choice(BASE58) for _ in range(22))


def conversation_id(now: float) -> str:
    return f"conv_{_stamped(now)}{secrets.token_hex(8)}"


def item_id(now: float, conversation_id: str) -> str:
    """An item shares its last 16 digits with its conversation (recording)."""
    return f"msg_{_stamped(now)}{conversation_id[-16:]}"


def response_id(now: float) -> str:
    return f"resp_{secrets.token_hex(8)}00{_stamped(now)}"


def output_id(now: float, response_id: str) -> str:
    """An output item shares its first digits with its response (recording)."""
    return f"msg_{response_id.removeprefix('resp_')[:18]}{_stamped(now)}"


def vector_store_id(now: float) -> str:
    return f"vs_{_stamped(now)}"


def file_batch_id(now: float) -> str:
    return f"vsfb_{_stamped(now)}"


def relay_file_id() -> str:
    return "file-" + "".join(secrets.choice(BASE62) for _ in range(24))


def relay_conversation_id(now: float) -> str:
    """Like a UUID; the first 8 digits are the second (capture)."""
    return f"{int(now):08x}{str(uuid.uuid4())[8:]}"


def message_id() -> str:
    return str(uuid.uuid4())


def completion_id() -> str:
    return "chatcmpl-" + "".join(secrets.choice(BASE62) for _ in range(29))


def request_id() -> str:
    return f"req_{secrets.token_hex(16)}"


def block_id() -> str:
    """What Azure calls a part in its storage: 16 bytes in base64."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def _stamped(now: float) -> str:
    """32 hexadecimal digits; the first 8 are the second (recording)."""
    return f"{int(now):08x}{secrets.token_hex(12)}"
