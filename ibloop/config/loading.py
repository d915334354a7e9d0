"""From a TOML file to a profile: found, read, converted, judged, or refused with all reasons."""

import os
import re
import tomllib
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

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
        base = self.source.parent if self.source else Path.cwd()
        return (base / file).expanduser()


def load_profile(config_file: Path | None, profile: str | None, data: Path | None) -> Profile:
    """Return the profile that the command line and the surroundings name.

    Raises: ConfigError when the named file is missing, unreadable or wrong in any way.
    """
    source = _find(config_file, profile)
    config = parse(_read(source) if source else BUILTIN_TOML, str(source or "built-in profile"))
    if data is None and config.data_dir is not None:
        data = ((source.parent if source else Path.cwd()) / config.data_dir).expanduser()
    if data is None and source is not None and source.parent == SYSTEM_CONFIG_DIR:
        data = SYSTEM_DATA_DIR / source.stem
    return Profile(config, source, (data or Path("data")).absolute())


def profile_path(name: str) -> Path:
    """Return the file of a profile. Raises: ConfigError for a name that is none."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ConfigError(f"expected a profile name like 'paper', was {name!r}")
    return SYSTEM_CONFIG_DIR / f"{name}.toml"


def _find(config_file: Path | None, profile: str | None) -> Path | None:
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
        raise ConfigError(f"no configuration at {source}") from None
    except (OSError, UnicodeDecodeError) as error:
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
        raise ConfigError(f"{source}: {error}") from None
    if problems := bad_numbers(config, ""):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    if problems := contradictions(config):
        raise ConfigError(f"{source}: {'; '.join(problems)}")
    return config
