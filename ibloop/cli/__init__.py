"""The ``ibloop`` command: one file a noun, loaded only when it is asked for."""

from ibloop.cli.root import main

__all__ = ["main"]
