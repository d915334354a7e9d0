"""Asking the stream: a row it answers, an exit code that tells the answer."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from ibloop.adapters.host import SystemClock
from ibloop.adapters.ledger import commands
from ibloop.adapters.ledger.connection import open_ledger, open_readonly
from ibloop.cli import stream_ask
from ibloop.core.model import Mode
from ibloop.daemons.streaming.wanted import Answers
from tests.fakes.streamworld import instrument

UNIVERSE = {symbol: instrument(symbol) for symbol in ("SPY", "QQQ")}


@contextmanager
def answering(data: Path) -> Iterator[None]:
    """Let a stream answer what it is asked, in a thread of its own."""
    opening = partial(open_ledger, data / "ibloop.db", mode=Mode.PAPER, account="DU1234567")
    answers, ended = Answers(opening, UNIVERSE, SystemClock()), threading.Event()

    def run() -> None:
        while not ended.wait(0.02):
            answers.answer()

    thread = threading.Thread(target=run)
    logging.disable()  # a stream logs to a stderr of its own
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        logging.disable(logging.NOTSET)


def test_a_granted_request(ibloop: Callable, traded: Path) -> None:
    """The stream's answer is told, exit 0."""
    with answering(traded):
        said = ibloop("stream", "subscribe", "QQQ", "SPY", "--data", traded)
        assert (said.code, said.err.split(";")[0]) == (0, "wanted: QQQ, SPY")
        said = ibloop("stream", "unsubscribe", "QQQ", "--data", traded)
        assert (said.code, said.err.split(";")[0]) == (0, "no longer wanted: QQQ")


def test_a_refused_request(ibloop: Callable, traded: Path) -> None:
    """What cannot be is refused with what to do, exit 77."""
    with answering(traded):
        said = ibloop("stream", "subscribe", "NOPE", "--data", traded)
    assert said.code == 77
    assert "not in the universe: NOPE; add them to the universe file" in said.err


def test_a_stream_that_does_not_answer(
    ibloop: Callable, traded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request stays for when it runs; exit 3 says that it does not."""
    monkeypatch.setattr(stream_ask, "WAIT_S", 0.2)
    said = ibloop("stream", "subscribe", "SPY", "--data", traded)
    assert said.code == 3
    assert "is it running?" in said.err
    with closing(open_readonly(traded / "ibloop.db")) as db:
        assert [c.args for c in commands.queued(db)] == [{"symbols": ["SPY"]}]
