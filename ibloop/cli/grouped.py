"""A click command with many options: its help shows them in groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class GroupedCommand(click.Command):
    """A command whose help lists its options under titles.

    `groups` has the names of the parameters under each title; options in no group come last.
    """

    def __init__(self, *args: Any, groups: Mapping[str, Sequence[str]], **kwargs: Any) -> None:
        """Take the groups, and what click takes."""
        super().__init__(*args, **kwargs)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the groups."""
        params = {param.name: param for param in self.get_params(ctx)}
        grouped = {name for names in self.groups.values() for name in names}
        rest = [name for name in params if name not in grouped]
        for title, names in (*self.groups.items(), ("Other", rest)):
            records = [params[name].get_help_record(ctx) for name in names]
            with formatter.section(title):
                formatter.write_dl([record for record in records if record is not None])
