"""Docstrings as Markdown and mkdocstrings have them."""

import re
from typing import Any

import griffe

# Lines from the first `>>>` to the next empty one: in Markdown, they are a quotation.
EXAMPLE = re.compile(r"(?:^ *>>> .*\n?(?:^ *\S.*\n?)*)", re.M)
# Names that share a line of `Args:`, as in `height, width: of the image.`, and what is said of them.
SHARED = re.compile(r"^( {4})([*\w]+(?:, [*\w]+)+):( .*\n?(?:^ {5,}.*\n?)*)", re.M)


def fenced(text: str) -> str:
    """A docstring with its examples between fences."""
    return EXAMPLE.sub(lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", text)


def apart(text: str) -> str:
    """A docstring with a line for each name."""

    def each(found: re.Match) -> str:
        return "".join(f"{found[1]}{name}:{found[3].rstrip()}\n" for name in found[2].split(", "))

    return SHARED.sub(each, text)


class Docstrings(griffe.Extension):
    """Rewrites the docstring of everything that is loaded."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = apart(fenced(obj.docstring.value))
