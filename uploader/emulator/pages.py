"""Lists, and the pages in which they are answered."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from uploader.emulator.answers import Document, Refusal
from uploader.emulator.call import Call, refused_shape


class Listing(Struct):
    """The parameters of a list; what else stands in a query is ignored."""

    limit: Annotated[int, Meta(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"
    after: str | UnsetType = UNSET
    before: str | UnsetType = UNSET


L = TypeVar("L", bound=Struct)


def read_listing(call: Call, shape: type[L]) -> L:
    query = dict(call.query)
    if call.switches.seeding and query.get("limit") == "0":
        del query["limit"]
    try:
        return msgspec.convert(query, shape, strict=False)
    except msgspec.ValidationError as error:
        raise refused_shape(str(error)) from None


def page(
    documents: Sequence[Document],
    asked: Listing,
    *,
    unknown: Callable[[str], Refusal] | None,
) -> Document:
    """Return one page of *documents*, which come in the order of their making.

    A cursor that names none of them is *unknown*; None begins at the beginning.
    """
    shown = list(documents)
    if asked.order == "desc":
        shown.reverse()
    if asked.before is not UNSET:
        at = _position(shown, asked.before, unknown)
        shown = shown if at is None else shown[:at]
    if asked.after is not UNSET:
        at = _position(shown, asked.after, unknown)
        shown = shown if at is None else shown[at + 1 :]
    return list_document(shown[: asked.limit], has_more=len(shown) > asked.limit)


def _position(
    documents: Sequence[Document],
    cursor: str,
    unknown: Callable[[str], Refusal] | None,
) -> int | None:
    names = [document["id"] for document in documents]
    if cursor in names:
        return names.index(cursor)
    if unknown is None:
        return None
    raise unknown(cursor)


def list_document(data: Sequence[Document], *, has_more: bool) -> Document:
    """Keys in the order of vector stores (recording)."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
