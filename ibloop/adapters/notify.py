"""What a daemon tells systemd: sd_notify(3), one datagram a message; silence outside systemd."""

import os
import socket
from collections.abc import Mapping

SEND_S_MAX = 1.0  # the kernel queues a few datagrams; a daemon does not hang on a busy systemd


def notify(*assignments: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Send assignments such as ``READY=1``; return whether the service manager took them.

    A line break in a value would begin another assignment, so it becomes a blank. An error is only
    told: systemd's own timeouts act on a daemon it does not hear.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return False
    message = "\n".join(" ".join(text.splitlines()) for text in assignments)
    name = "\0" + address[1:] if address[0] == "@" else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(SEND_S_MAX)
            sender.connect(name)
            sender.sendall(message.encode(errors="replace"))
    except OSError:
        return False
    return True


def watchdog_s(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return after how many silent seconds systemd kills this process; None: it never does."""
    limit_us = environ.get("WATCHDOG_USEC", "")
    for_pid = environ.get("WATCHDOG_PID", str(os.getpid()))
    if not limit_us.isdecimal() or for_pid != str(os.getpid()):
        return None
    return int(limit_us) / 1e6 or None
