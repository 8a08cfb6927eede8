from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.emulator.multipart import Form, MalformedForm

BOUNDARY = "f0917ffe"

contents = st.one_of(
    st.binary(max_size=200),
    # What looks like the beginning of a boundary is content all the same.
    st.lists(st.sampled_from([b"\r", b"\n", b"--", b"\r\n--f0917", b"x"])).map(
        b"".join
    ),
)


def written(fields: list[tuple[str, bytes]]) -> bytes:
    lines = b"".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, content in fields
    )
    return lines + f"--{BOUNDARY}--\r\n".encode()


async def in_steps(body: bytes, step: int) -> AsyncIterator[bytes]:
    for offset in range(0, len(body), step):
        yield body[offset : offset + step]


async def read(body: bytes, step: int = 7) -> list[tuple[str, bytes]]:
    form = Form(in_steps(body, step), BOUNDARY)
    return [
        (field.name, b"".join([chunk async for chunk in form.value()]))
        async for field in form.fields()
    ]


@given(values=st.lists(contents, max_size=3), step=st.integers(1, 300))
async def test_fields_are_read_however_the_body_is_cut(
    values: list[bytes], step: int
) -> None:
    fields = [(f"field{number}", value) for number, value in enumerate(values)]

    assert await read(written(fields), step) == fields


async def test_a_value_that_nobody_reads_is_skipped() -> None:
    form = Form(in_steps(written([("a", b"1"), ("b", b"2")]), 5), BOUNDARY)

    assert [field.name async for field in form.fields()] == ["a", "b"]


async def test_what_stands_before_the_first_boundary_is_ignored() -> None:
    assert await read(b"a preamble\r\n" + written([("a", b"1")])) == [("a", b"1")]


async def test_a_field_knows_its_filename() -> None:
    body = (
        b"--f0917ffe\r\nContent-Type: application/octet-stream\r\n"
        b'content-disposition: form-data; name="data"; filename="a b.txt"\r\n\r\n'
        b"\r\n--f0917ffe--"
    )
    form = Form(in_steps(body, 11), BOUNDARY)

    (field,) = [field async for field in form.fields()]

    assert (field.name, field.filename) == ("data", "a b.txt")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"hello", id="no boundary"),
        pytest.param(b"--f0917ffe\r\n", id="no headers"),
        pytest.param(b"--f0917ffe\r\nA: b\r\n\r\nvalue\r\n--f0917ffe--", id="no name"),
        pytest.param(written([("a", b"1")])[:-5], id="broken off"),
        pytest.param(b"--f0917ffe??", id="garbage after a boundary"),
        pytest.param(b"--f0917ffe\r\n" + b"A: b\r\n" * 9000, id="endless headers"),
    ],
)
async def test_what_is_no_form_is_said_to_be_malformed(body: bytes) -> None:
    with pytest.raises(MalformedForm):
        await read(body)
