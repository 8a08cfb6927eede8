"""May this upload be completed with these parts?  Plain functions, no I/O."""

import base64
import binascii
from collections.abc import Sequence

from uploader.emulator.answers import Refusal
from uploader.emulator.dialect import Dialect
from uploader.emulator.records import Part, Upload
from uploader.emulator.switches import Switches


def choose_parts(
    upload: Upload,
    stored: Sequence[Part],
    part_ids: Sequence[str],
    dialect: Dialect,
    switches: Switches,
) -> list[Part]:
    """Return the parts that make the file, in the order of its bytes."""
    known = {name: part for part in stored for name in _names(part, dialect, switches)}
    unknown = [part_id for part_id in part_ids if part_id not in known]
    if unknown and switches.unknown_parts == "refuse":
        raise _bad_parts(f"No such part in upload {upload.id}: {unknown[0]}")
    chosen = [known[part_id] for part_id in part_ids if part_id in known]
    _check_reuse(chosen, switches)
    if not unknown:
        _check_size(upload, stored, chosen, switches)
    if switches.part_order == "received":
        chosen.sort(key=stored.index)
    return chosen


def _names(part: Part, dialect: Dialect, switches: Switches) -> tuple[str, ...]:
    if not dialect.shows_block_ids or switches.azure_part_ids == "id":
        return (part.id,)
    if switches.azure_part_ids == "block":
        return (part.block_id,)
    return (part.id, part.block_id)


def _check_reuse(chosen: Sequence[Part], switches: Switches) -> None:
    if len({part.id for part in chosen}) < len(chosen) and not switches.part_reuse:
        raise _bad_parts("A part is listed more than once.")


def _check_size(
    upload: Upload, stored: Sequence[Part], chosen: Sequence[Part], switches: Switches
) -> None:
    if upload.size is None:
        return
    if not chosen and not switches.zero_byte_uploads:
        raise _bad_parts("[] should be non-empty")
    counted = stored if switches.unlisted_parts_count else chosen
    size = sum(part.size for part in counted)
    if size != upload.size:
        raise Refusal(
            400,
            f"The upload was created with {upload.size} bytes,"
            f" but its parts have {size} bytes.",
        )


def check_md5(claimed: str, digest: bytes, switches: Switches) -> None:
    """Refuse unless *claimed* is the MD5 *digest*, in an encoding that is taken."""
    encodings = {
        "hex": [_from_hex],
        "base64": [_from_base64],
        "either": [_from_hex, _from_base64],
        "ignored": [],
    }[switches.md5]
    if encodings and digest not in [decode(claimed) for decode in encodings]:
        raise Refusal(400, "The md5 does not match the uploaded bytes.", param="md5")


def _from_hex(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _from_base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


def _bad_parts(message: str) -> Refusal:
    return Refusal(400, message, param="part_ids")
