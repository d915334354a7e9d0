"""What a request is, and the parsers of requests with no or one argument."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ibloop.sim.protocol.wire import FieldReader

# Fields after the message id and the server version in, one frozen request value out.
Parser = Callable[[FieldReader, int], Any]
Parsers = Mapping[int, Parser]


@dataclass(frozen=True, slots=True)
class Bare:
    """A request without arguments; `name` is a key of the gateway's handlers."""

    name: str


@dataclass(frozen=True, slots=True)
class ById:
    """A request whose only argument is a request, rule or type number."""

    name: str
    req_id: int


def bare(name: str, skip: int) -> Parser:
    """Return the parser of a request whose `skip` fields say nothing."""

    def read(reader: FieldReader, _version: int) -> Bare:
        reader.skip(skip)
        return Bare(name)

    return read


def by_id(name: str, skip: int, after: int = 0) -> Parser:
    """Return the parser of a request with a number after `skip` fields and before `after`."""

    def read(reader: FieldReader, _version: int) -> ById:
        reader.skip(skip)
        request = ById(name, reader.integer())
        reader.skip(after)
        return request

    return read
