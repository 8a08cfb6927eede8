"""A form with one file in it, as bytes around the file's own.

Names are spelled as browsers spell them: UTF-8, with only a quote and line ends
escaped, so what the service's parser reads is the name itself.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

ESCAPED: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a form says beside the bytes of its file.  The default is an Upload's part.

    *field* is the name of the file field; *texts* are fields that stand before it.
    """

    field: str = "data"
    filename: str = "part"
    content_type: str = "application/octet-stream"
    texts: tuple[tuple[str, str], ...] = ()


class Envelope:
    """The bytes before and after the file of one form."""

    def __init__(self, form: Form) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        texts = "".join(
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{escaped(name)}"\r\n\r\n'
            f"{value}\r\n"
            for name, value in form.texts
        )
        self.head = (
            f"{texts}--{boundary}\r\n"
            f'Content-Disposition: form-data; name="{escaped(form.field)}";'
            f' filename="{escaped(form.filename)}"\r\n'
            f"Content-Type: {form.content_type}\r\n\r\n"
        ).encode()
        self.tail = f"\r\n--{boundary}--\r\n".encode()


def escaped(name: str) -> str:
    """*name* as it stands between the quotes of a Content-Disposition."""
    return name.translate(ESCAPED)
