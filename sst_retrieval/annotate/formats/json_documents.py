"""JSON documents of annotation programs: parse them, and take checked entries out of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from sst_retrieval.errors import SupportError

MAX_PIXELS = 2**31
"""No photograph has more; a damaged size must not ask for all memory."""


def load_json(path: Path) -> Any:
    """Parse a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        SupportError: it cannot be opened, is in another encoding, or is not valid JSON.
    """
    try:
        content = path.read_bytes()
        return json.loads(content.decode(json.detect_encoding(content)))
    except OSError as error:
        raise SupportError(f"{path} cannot be opened ({error.strerror}); check the path of the supports") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SupportError(
            f"{path} line {line} is not UTF-8 text; save the file as UTF-8, or export it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SupportError(f"{path} is not valid JSON ({error}); export the annotations again") from error


def require_entry(item: Any, key: str, kinds: tuple[type, ...], where: str) -> Any:
    """Return an entry of a JSON object.

    Args:
        item: anything; only a JSON object has entries.
        key: of the entry.
        kinds: the types it may have; bool is not taken for int.
        where: file and place in it, for the message.

    Raises:
        SupportError: the entry is missing or of another type.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise SupportError(f"{where}: {key!r} is missing or of the wrong kind; export the annotations again")
    return value


def list_entries(value: Any) -> list[Any]:
    """Return the entries of a JSON list or the values of an object; none of anything else."""
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def require_size(item: Any, height: str, width: str, where: str) -> tuple[int, int]:
    """Return the size of a photograph from two entries of a JSON object.

    Args:
        item: the JSON object.
        height: key of the height in pixels.
        width: key of the width in pixels.
        where: file and place in it, for the message.

    Returns:
        (height, width) in pixels, each at least 1.

    Raises:
        SupportError: an entry is missing or is no size of a photograph.
    """
    size = (require_whole(item, height, where), require_whole(item, width, where))
    if min(size) < 1 or math.prod(size) > MAX_PIXELS:
        raise SupportError(f"{where}: {height} and {width} are no size of a photograph; export the annotations again")
    return size


def stores_size(item: Any, height: str, width: str) -> bool:
    """Tell whether a JSON object says how large its photograph is; some programs leave it out, or write 0 or null."""
    return isinstance(item, dict) and any(item.get(key) not in (None, 0, "") for key in (height, width))


def require_whole(item: Any, key: str, where: str) -> int:
    """Return a whole number of a JSON object, which some programs write as 603.0 or "603".

    Args:
        item: anything; only a JSON object has entries.
        key: of the entry.
        where: file and place in it, for the message.

    Raises:
        SupportError: the entry is missing or is no whole number.
    """
    value = item.get(key) if isinstance(item, dict) else None
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
        return int(value)
    value = require_entry(item, key, (int, float), where)
    if isinstance(value, float) and not value.is_integer():
        raise SupportError(f"{where}: {key!r} is {value}, no whole number; export the annotations again")
    return int(value)
