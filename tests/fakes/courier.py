"""A courier that does at once what a test planned."""

from ibloop.core.alerting import Part
from ibloop.core.delivery import Outcome, Reply


class FakeCourier:
    """Answers with what a test planned, delivered by default; counts every message."""

    def __init__(self) -> None:
        """Deliver everything."""
        self.sent: list[tuple[str, bool, bool]] = []
        self.planned: list[Reply] = []
        self.refused: str | None = None
        self.is_slow = False
        self._reply: Reply | None = None

    def forget(self) -> None:
        """Lose the reply, as a process that is killed does."""
        self._reply = None

    @property
    def texts(self) -> list[str]:
        """Return the texts sent, in order."""
        return [text for text, _, _ in self.sent]

    def begin(self, part: Part, *, as_html: bool, silent: bool) -> None:
        """Send at once; one at a time."""
        assert self._reply is None, "two at once"
        text = part.html if as_html else part.plain
        self.sent.append((text, as_html, silent))
        self._reply = Reply(Outcome.DELIVERED, message_id=len(self.sent))
        if self.planned:
            self._reply = self.planned.pop(0)
        elif self.refused is not None and self.refused in text:
            self._reply = Reply(Outcome.BAD_MESSAGE, "Telegram answers 400: no")

    def take(self) -> Reply | None:
        """Return the reply, unless it is to come late."""
        if self.is_slow:
            return None
        reply, self._reply = self._reply, None
        return reply

    def wait(self, _timeout_s: float) -> None:
        """Let a late reply come."""
        self.is_slow = False
