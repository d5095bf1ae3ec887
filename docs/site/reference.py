"""The pages on the command line and on Python, made from the code."""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click
import docstrings

ROOT = Path(__file__).parents[2]


def command_line() -> str:
    """Every command with its help, its usage and its options."""
    import cli

    lines = ["# Command line", "", "What `zoo COMMAND --help` prints.", ""]
    for words, command in _commands(cli.commands, "zoo"):
        lines += [f"## {words}", "", *_command(words, command)]
    return "\n".join(lines) + "\n"


def _commands(command: click.Command, words: str) -> Iterator[tuple[str, click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{words} {name}")


def _command(words: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=words)
    yield from _paragraphs(command.help or "")
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ["```text", f"{words} {usage}", "```", ""]
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    if rows := [record for record in records if record]:
        yield from ["| option | what it does |", "|---|---|"]
        yield from (f"| {_code(option)} | {_text(meaning)} |" for option, meaning in rows)
        yield ""


def _paragraphs(text: str) -> Iterator[str]:
    r"""The help as Markdown; what click is told not to wrap, by a \b, is typed."""
    for paragraph in map(str.strip, re.split(r"\n\s*\n", text)):
        if paragraph.startswith("\b"):
            lines = [line.strip().removeprefix("Example: ") for line in paragraph.splitlines()[1:]]
            yield from ["```sh", *lines, "```", ""]
        else:
            yield from [_text(" ".join(paragraph.split())), ""]


def _code(text: str) -> str:
    return "`{}`".format(text.replace("|", "\\|"))


def _text(text: str) -> str:
    """Words that a person reads, with what Markdown would take for markup left as it is."""
    return re.sub(r"([*_<>|\[\]])", r"\\\1", " ".join(text.split()))


@functools.cache
def _public() -> dict[str, list[str]]:
    """The public names of each module, as `docs/api.md` lists them."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "docs" / "api.md").read_text("utf-8").splitlines():
        if heading := re.match(r"## `([\w.]+)`$", line):
            found[heading[1]] = []
        elif row := re.match(r"\| `(\w+)` \|", line):
            found[list(found)[-1]].append(row[1])
    return found


def modules() -> list[str]:
    """Modules with public names, in the order of `docs/api.md`."""
    return list(_public())


def python(module: str) -> str:
    """A page for mkdocstrings: the public names of a module, each where it is defined."""
    about = ast.get_docstring(ast.parse(_file(module).read_text("utf-8"))) or ""
    shown = "::: {}\n    options: {{heading: {}, toc_label: {}}}"
    names = "\n\n".join(shown.format(_home(module, name), f"{module}.{name}", name) for name in _public()[module])
    return f"# {module}\n\n{docstrings.fenced(about)}\n\n{names}\n"


def _file(module: str) -> Path:
    place = ROOT / module.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@functools.cache
def _definitions() -> dict[str, list[str]]:
    """The modules that define each name at their top: many public names are imported lazily from there."""
    found = defaultdict(list)
    for file in sorted([*ROOT.glob("zoo/**/*.py"), *ROOT.glob("recipes/**/*.py")]):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(file.read_text("utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            for target in targets:
                found[getattr(target, "id", getattr(target, "name", ""))].append(module)
    return found


def _home(module: str, name: str) -> str:
    """Where a public name of a module is defined: in it or below it, else anywhere."""
    homes = sorted(_definitions()[name], key=lambda home: (not f"{home}.".startswith(f"{module}."), home))
    return f"{homes[0]}.{name}"
