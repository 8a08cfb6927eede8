"""Ids as the services make them.  No client should read anything out of them."""

import base64
import secrets
from typing import Final

# Without 0, O, I and l, which people confuse.
BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def upload_id(now: float) -> str:
    return f"upload_{_stamped(now)}"


def part_id(now: float) -> str:
    return f"part_{_stamped(now)}"


def file_id() -> str:
    return "file-" + "".join(secrets.choice(BASE58) for _ in range(22))


def request_id() -> str:
    return f"req_{secrets.token_hex(16)}"


def block_id() -> str:
    """What Azure calls a part in its storage: 16 bytes in base64."""
    return base64.b64encode(secrets.token_bytes(16)).decode()


def _stamped(now: float) -> str:
    """32 hexadecimal digits; the first 8 are the second (recording)."""
    return f"{int(now):08x}{secrets.token_hex(12)}"
