"""From a TOML file to a profile: found, read, converted, judged, or refused with all reasons."""

import os
import re
import shlex
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from ibloop.config.kinds import wrong_value
from ibloop.config.rules import bad_numbers, contradictions, unknown_keys
from ibloop.config.tree import Config
from ibloop.errors import ConfigError

SYSTEM_CONFIG_DIR = Path("/etc/ibloop")
SYSTEM_DATA_DIR = Path("/var/lib/ibloop")
BUILTIN_TOML = (Path(__file__).parent / "builtin.toml").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Profile:
    """A configuration together with where it came from and where its data lives."""

    config: Config
    source: Path | None
    data_dir: Path

    @property
    def name(self) -> str:
        """Return the name people see: the file's stem, ``sim`` for the built-in one."""
        return self.source.stem if self.source else "sim"

    @property
    def ledger_path(self) -> Path:
        """Return where the ledger of this profile is."""
        return self.data_dir / "ibloop.db"

    @property
    def stream_dir(self) -> Path:
        """Return the directory of quotes and heartbeats."""
        return self.data_dir / "ib" / "stream"

    def resolve(self, file: str) -> Path:
        """Return ``file`` relative to the configuration's directory (else the current one)."""
        return beside(self.source, file)


def load_profile(config_file: Path | None, profile: str | None, data: Path | None) -> Profile:
    """Return the profile that the command line and the surroundings name.

    Raises: ConfigError when the named file is missing, unreadable or wrong in any way.
    """
    source = find_source(config_file, profile)
    config = parse(_read(source) if source else BUILTIN_TOML, str(source or "built-in profile"))
    return Profile(config, source, (data or usual_data_dir(config, source)).absolute())


def usual_data_dir(config: Config, source: Path | None) -> Path:
    """Return where the data is unless ``--data`` says otherwise.

    ``./data`` of the current directory where neither the file nor its place says anything; what
    `ibloop init` writes says ``data_dir``, so that a command from another directory finds it.
    """
    if config.data_dir is not None:
        return beside(source, config.data_dir)
    if source is not None and source.parent == SYSTEM_CONFIG_DIR:
        return SYSTEM_DATA_DIR / source.stem
    return Path("data").absolute()


def beside(source: Path | None, file: str) -> Path:
    """Return ``file`` relative to the directory of ``source``, else to the current one."""
    base = source.parent if source else Path.cwd()
    return base / os.path.expanduser(file)  # noqa: PTH111  # Path's raises for an unknown user


def profile_path(name: str) -> Path:
    """Return the file of a profile. Raises: ConfigError for a name that is none."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ConfigError(f"expected a profile name like 'paper', was {name!r}")
    return SYSTEM_CONFIG_DIR / f"{name}.toml"


def find_source(config_file: Path | None, profile: str | None) -> Path | None:
    """Return the file of the profile that is meant, ``None`` for the built-in one."""
    if config_file is not None:
        return config_file.absolute()
    if profile is not None:
        return profile_path(profile)
    if named := os.environ.get("IBLOOP_CONFIG"):
        return Path(named).absolute()
    here = Path("ibloop.toml").absolute()
    return here if here.exists() else None


def _read(source: Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except FileNotFoundError:
        told = f"no configuration at {source}; `ibloop init {shlex.quote(str(source))}` writes one"
        raise ConfigError(told) from None
    except OSError as error:
        raise ConfigError(f"cannot read {source}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {source}: {error}") from None


def parse(text: str, source: str) -> Config:
    """Return the configuration in ``text``.

    Raises: ConfigError naming ``source`` and everything that is wrong with it.
    """
    try:
        raw = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}") from None
    if problems := unknown_keys(raw, Config, ""):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    try:
        config = msgspec.convert(raw, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {wrong_value(str(error), raw, Config)}") from None
    if problems := bad_numbers(config, ""):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    if problems := contradictions(config):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    return config
