"""The JSON documents of ``data/ib/stream``: one quote a symbol, one status a daemon.

Numbers are JSON numbers and stay ``Decimal`` to the last printed digit; missing is ``null``.
``docs/reference/files.md`` lists every file and field, ``wholefiles`` is how they stay whole.

    names      which symbol has which file
    documents  a quote as JSON, and back
    writer     the one writer of the quote files
    reader     what every consumer reads quotes with
    status     the status documents of the daemons
"""

from ibloop.adapters.streamfiles.documents import decode_quote, encode_quote
from ibloop.adapters.streamfiles.names import file_name, is_nameable, symbol_of
from ibloop.adapters.streamfiles.reader import QuoteReader
from ibloop.adapters.streamfiles.status import (
    Heartbeat,
    heartbeat_document,
    iso_utc,
    read_heartbeat,
    read_status,
    status_path,
    write_status,
)
from ibloop.adapters.streamfiles.writer import StreamWriter
from ibloop.adapters.wake import Waker, wake

__all__ = [
    "Heartbeat",
    "QuoteReader",
    "StreamWriter",
    "Waker",
    "decode_quote",
    "encode_quote",
    "file_name",
    "heartbeat_document",
    "is_nameable",
    "iso_utc",
    "read_heartbeat",
    "read_status",
    "status_path",
    "symbol_of",
    "wake",
    "write_status",
]
