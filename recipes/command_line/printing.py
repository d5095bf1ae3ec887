"""How every command says what it came to."""

import sys
from collections.abc import Callable
from typing import Any

import click

from zoo.terminal import escaped, unescaped


def answer(as_json: bool, value: Any, as_text: Callable[[], str]) -> None:
    """Prints what a command came to; by then all that it writes to disk is there."""
    from recipes.support.tables import to_json

    # A DEL is all of ASCII's control characters that JSON leaves as it is.
    click.echo(to_json(value).replace("\x7f", "\\u007f") if as_json else as_text())


def line(*parts: object) -> str:
    return escaped(" ".join(map(str, parts)))


def warn(message: str) -> None:
    click.secho(f"Warning: {escaped(message)}", file=unescaped(sys.stderr), fg="yellow")
