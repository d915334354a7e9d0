"""The configuration: one TOML file, one tree of values. Unknown keys are errors."""

from ibloop.config.loading import (
    BUILTIN_TOML,
    SYSTEM_CONFIG_DIR,
    Profile,
    load_profile,
    parse,
)
from ibloop.config.tree import Config, Web

__all__ = [
    "BUILTIN_TOML",
    "SYSTEM_CONFIG_DIR",
    "Config",
    "Profile",
    "Web",
    "load_profile",
    "parse",
]
