"""Groups of commands."""

from typing import Any

import click

from zoo.errors import unknown


class Commands(click.Group):
    """A group that answers a mistyped command with the nearest one."""

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and self.get_command(context, args[0]) is None and not context.resilient_parsing:
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(context, args)
