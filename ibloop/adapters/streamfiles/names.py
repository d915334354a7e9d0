"""Which symbol has which file: one to one, and never a file elsewhere or one of our own."""

import string
from functools import lru_cache
from urllib.parse import unquote

from ibloop.errors import BadInputError

SUFFIX = ".json"
SYMBOL_BYTES_MAX = 64  # three times as long when encoded, and below NAME_MAX

_PLAIN = frozenset(string.ascii_uppercase + string.digits + ".-")


def is_nameable(symbol: str) -> bool:
    """Return whether a symbol can have a file.

    Not when it is empty, overlong or unprintable, and not with a leading ``.`` or ``_``, the marks
    of our own files.
    """
    length = len(symbol.encode(errors="replace"))
    return symbol.isprintable() and symbol[:1] not in "._" and 0 < length <= SYMBOL_BYTES_MAX


@lru_cache(maxsize=4096)
def file_name(symbol: str) -> str:
    """Return the name of a symbol's file, never one elsewhere: ``BRK B`` is ``BRK%20B.json``.

    Raises: BadInputError for a symbol that cannot have a file.
    """
    if not is_nameable(symbol):
        raise BadInputError(
            f"expected a symbol of 1 to {SYMBOL_BYTES_MAX} printable bytes "
            f"that does not begin with '.' or '_', was {symbol!r}"
        )
    encoded = (
        char if char in _PLAIN else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in symbol
    )
    return "".join(encoded) + SUFFIX


def symbol_of(name: str) -> str | None:
    """Return the symbol whose file bears this name; None for every other file."""
    symbol = unquote(name.removesuffix(SUFFIX))
    try:
        return symbol if file_name(symbol) == name else None
    except BadInputError:
        return None
