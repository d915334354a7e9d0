"""The few exceptions, each with the exit code a process ends with.

Expected refusals are values (``Breach``, a gate's reason); an exception means that the caller
cannot go on. Every message says what was expected, what was found and what to do next.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command (``docs/reference/cli.md``)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DEGRADED = 3
    BAD_INPUT = 65
    GATEWAY_UNAVAILABLE = 69
    LOCK_HELD = 75
    REFUSED = 77
    BAD_CONFIG = 78


class IbloopError(Exception):
    """Base of all errors shown to a person as one sentence, without a traceback."""

    exit_code = Exit.FAILED


class BadInputError(IbloopError):
    """A file or argument from outside cannot be used."""

    exit_code = Exit.BAD_INPUT


class ConfigError(IbloopError):
    """The configuration, or what it points at, cannot be used."""

    exit_code = Exit.BAD_CONFIG


class GatewayUnavailableError(IbloopError):
    """No proven connection to a gateway."""

    exit_code = Exit.GATEWAY_UNAVAILABLE


class LockHeldError(IbloopError):
    """Another process holds a lock that must be ours."""

    exit_code = Exit.LOCK_HELD


class RefusedError(IbloopError):
    """A safety rail refuses what was asked."""

    exit_code = Exit.REFUSED


class LedgerError(IbloopError):
    """The ledger is missing, foreign, damaged or of another version."""

    exit_code = Exit.BAD_CONFIG


class NotRunningError(IbloopError):
    """What was asked about is not running or degraded."""

    exit_code = Exit.DEGRADED
