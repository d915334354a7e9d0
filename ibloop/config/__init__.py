"""One TOML file, one frozen tree of values. Unknown keys are errors; money limits are mandatory.

Where the file comes from: ``--config FILE``, else ``--profile NAME`` (``/etc/ibloop/NAME.toml``
and nothing else), else ``$IBLOOP_CONFIG``, else ``./ibloop.toml``, else the built-in sim profile.
Nothing but the path of the file is ever read from the environment.

Where the data is: ``--data``, else ``data_dir``, else ``/var/lib/ibloop/NAME`` for a file in
``/etc/ibloop``, else ``./data`` of the current directory. Every relative path in the file is
relative to the file; what `ibloop init` writes names ``data`` beside it.
"""

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
