from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.fakes import FakeBody, serving
from uploader.config import Timeouts
from uploader.emulator.multipart import Form as Parsed
from uploader.headers import constant
from uploader.http import Http
from uploader.multipart import Envelope, Form

NAMES = [
    pytest.param("report.pdf", id="plain"),
    pytest.param("a]b`c$d)e (1).png", id="as in the vendor's examples"),
    pytest.param("two  spaces ; and = and ' .txt", id="spaces and separators"),
    pytest.param("Grüße 報告 \N{GRINNING FACE}.txt", id="beyond ASCII"),
    pytest.param("e\N{COMBINING ACUTE ACCENT}.txt", id="not composed"),
    pytest.param("100%.txt", id="per cent"),
]


async def received(form: Form) -> tuple[dict[str, str], bytes, web.Request]:
    """What a service reads: all fields by name, the file's name, and the raw body."""
    seen: list[tuple[web.Request, bytes]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request, await request.read()))
        return web.json_response({})

    async with serving(handler) as url:
        http = Http(url, constant({}), timeouts=Timeouts())
        await http.request("f", "POST", "f", part=FakeBody(b"ab", b"c"), form=form)
        await http.aclose()
    [(request, raw)] = seen
    fields: dict[str, str] = {}
    boundary = request.headers["Content-Type"].partition("boundary=")[2]

    async def arriving() -> AsyncIterator[bytes]:
        yield raw

    parsed = Parsed(arriving(), boundary)
    async for field in parsed.fields():
        value = b"".join([chunk async for chunk in parsed.value()])
        fields[field.name] = value.decode()
        if field.filename is not None:
            fields["filename"] = field.filename
            fields["type"] = field.content_type or ""
    return fields, raw, request


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_survives(name: str) -> None:
    fields, raw, _ = await received(Form(field="file", filename=name))

    assert fields == {
        "file": "abc",
        "filename": name,
        "type": "application/octet-stream",
    }
    assert f'filename="{name}"'.encode() in raw


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        pytest.param('a "b".txt', "a %22b%22.txt", id="quotes"),
        pytest.param("a\r\nb.txt", "a%0D%0Ab.txt", id="line ends"),
    ],
)
def test_what_would_end_a_name_is_escaped_as_browsers_do(
    name: str, spelled: str
) -> None:
    assert f'filename="{spelled}"'.encode() in Envelope(Form(filename=name)).head


async def test_texts_stand_before_the_file() -> None:
    form = Form(
        field="files",
        filename="a.png",
        content_type="image/png",
        texts=(("upload_type", "multimodal"), ("model", "größer")),
    )

    fields, raw, request = await received(form)

    assert list(fields) == ["upload_type", "model", "files", "filename", "type"]
    assert fields["model"] == "größer"
    assert fields["type"] == "image/png"
    assert int(request.headers["Content-Length"]) == len(raw)
    assert "Transfer-Encoding" not in request.headers


def test_each_form_has_a_boundary_of_its_own() -> None:
    assert Envelope(Form()).content_type != Envelope(Form()).content_type
