"""Questions to the gateway that are under way, and the rows that have come in for them.

Most of IB's questions carry no id: their answers are told apart by kind alone. So at most one of
a kind is under way, and one that was given up must not be asked again on the same connection, or
the late answer to the first would pass for a complete answer to the second.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from ibloop.adapters.ports import NotSentError
from ibloop.core.invariant import invariant

Key: TypeAlias = str | int
"""A kind of question (``str``), or the request id of one that carries an id."""

Unsent: TypeAlias = asyncio.Future[None] | None
"""Of a request that has to wait its turn: done when it has left. ``None`` if it left at once."""


class QueryError(Exception):
    """A question that was refused, cut off or not answered in time: it says nothing at all."""


class QueryTimeoutError(QueryError):
    """A question without an answer. ``rows`` is what had come in until then."""

    def __init__(self, message: str, rows: list[Any]) -> None:
        """Keep ``rows``, each of the kind that the callbacks of this question add."""
        super().__init__(message)
        self.rows = rows


class Queries:
    """The questions under way on one connection."""

    def __init__(self) -> None:
        """Begin with none."""
        self._open: dict[Key, tuple[asyncio.Future[None], list[Any]]] = {}

    def is_open(self, key: Key) -> bool:
        """Return whether the question is under way."""
        return key in self._open

    def add(self, key: Key, row: Any) -> bool:
        """Add a row to a question under way; ``False`` when nobody asked."""
        if key not in self._open:
            return False
        self._open[key][1].append(row)
        return True

    def end(self, key: Key) -> None:
        """Mark the question as completely answered."""
        if key in self._open and not self._open[key][0].done():
            self._open[key][0].set_result(None)

    def refuse(self, key: Key, reason: str) -> None:
        """Mark the question as refused by the gateway."""
        if key in self._open and not self._open[key][0].done():
            self._open[key][0].set_exception(QueryError(reason))

    def refuse_unnumbered(self, reason: str) -> None:
        """Mark all questions without an id as refused: error id -1 may mean any of them."""
        for key in [k for k in self._open if isinstance(k, str)]:
            self.refuse(key, f"{key}: {reason}")

    def cut_off(self, reason: str) -> None:
        """End all questions because the connection is gone."""
        for key in list(self._open):
            self.refuse(key, reason)

    async def ask(
        self, key: Key, name: str, send: Callable[[], Unsent], timeout_s: float
    ) -> list[Any]:
        """Ask, wait for the end of the answer and return its rows.

        Args: ``send`` writes the request; ``name`` is for messages; ``timeout_s`` in seconds from
        when the request has left: until then the gateway cannot have missed anything.
        Raises: QueryTimeoutError; QueryError when refused or cut off.
        """
        invariant(key not in self._open, f"{name} is already under way")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        rows: list[Any] = []
        self._open[key] = (future, rows)
        unsent: Unsent = None
        try:
            unsent = send()
            if unsent is not None:
                await asyncio.wait({unsent, future}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            raise QueryTimeoutError(f"{name}: no answer within {timeout_s:g} s", rows) from None
        except NotSentError as error:
            raise QueryError(f"{name}: {error}") from None
        finally:
            if unsent is not None:
                unsent.cancel()
            del self._open[key]
        return rows
