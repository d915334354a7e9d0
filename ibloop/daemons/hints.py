"""Advice that names commands, made complete: the profile's options and the run's key are put in."""

import re
import shlex

from ibloop.config import SYSTEM_CONFIG_DIR, Profile
from ibloop.config.loading import find_source, usual_data_dir

_COMMAND = re.compile("`(ibloop [^`]+)`")
_COMPLETE = re.compile(r" --(config|profile|data)\b|^ibloop (init|demo|sim|systemd)\b")
"""What names its profile already, or knows none."""
_RUN = re.compile(r"\bRUN\b")


def command_options(profile: Profile) -> str:
    """Return the options that name this profile in a command, for a shell anywhere on this host."""
    source = profile.source
    if source is None:
        return f"--data {_quoted(profile.data_dir)}"
    if source.parent == SYSTEM_CONFIG_DIR:
        named = f"--profile {source.stem}"
    else:
        named = f"--config {_quoted(source)}"
    is_fixed = profile.config.data_dir is not None or source.parent == SYSTEM_CONFIG_DIR
    if is_fixed and profile.data_dir == usual_data_dir(profile.config, source):
        return named
    return f"{named} --data {_quoted(profile.data_dir)}"


def options_here(profile: Profile) -> str:
    """Return the options that name this profile in a command given where we are now.

    Empty where a command without options finds the same profile and data.
    """
    try:
        source = find_source(None, None)
    except FileNotFoundError:  # the current directory has been deleted
        return command_options(profile)
    if source != profile.source:
        return command_options(profile)
    is_usual = profile.data_dir == usual_data_dir(profile.config, source)
    return "" if is_usual else f"--data {_quoted(profile.data_dir)}"


def complete(text: str, options: str, run_key: str | None = None) -> str:
    """Return advice whose `ibloop ...` commands can be pasted: with the options, and RUN named."""

    def whole(found: re.Match[str]) -> str:
        command = found[1]
        if run_key is not None:
            command = _RUN.sub(lambda _: shlex.quote(run_key), command)
        if not options or _COMPLETE.search(command):
            return f"`{command}`"
        return f"`{command} {options}`"

    return _COMMAND.sub(whole, text)


def _quoted(path: object) -> str:
    return shlex.quote(str(path))
