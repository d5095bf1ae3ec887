"""Every command and snippet of README.md and docs/ exists as printed; one of a new kind fails until it has a rule."""

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

import cli

ROOT = Path(__file__).parents[1]
FILES = [ROOT / "README.md", *sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("docs/learn/*.md")])]
PAGES = {str(file.relative_to(ROOT)): file.read_text("utf-8") for file in FILES}
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.M | re.S)
TYPED = re.compile(FENCE.pattern + r"|^ {4}(\w[^\n]*)$|`([^`]+)`", FENCE.flags)
SHELL = {"sh", "console"}
DATA = {"", "toml", "yaml", "cpp", "dockerfile", "kotlin", "swift"}  # "": what was printed
# Programs that are not of this project, in blocks of a shell's lines.
OTHERS = {"#!/bin/bash", ".ci/run", "export", "mkdocs", "mypy", "pip", "pre-commit", "pytest", "ruff", "srun", "test"}
# Named for what they are, not as something to type: the rest is left to the reader.
MENTIONED = {"zoo fit --recipe"}
SCRIPTS = {"rotated.py"}  # what a page tells to save first


def blocks(page, languages):
    """Fenced blocks of these languages."""
    return [text for language, text in FENCE.findall(PAGES[page]) if language in languages]


def lines(text):
    """What could be typed: lines of blocks, indented lines, and code within the text, in their order."""
    for language, block, indented, span in re.findall(
        rf"{FENCE.pattern}|^ {{4}}(\w[^\n]*)$|`([^`]+)`", text, re.M | re.S
    ):
        if block:
            yield from block.splitlines() if language in SHELL else ()
        else:
            yield " ".join((indented or span).split("\n"))


def commands(page):
    """The words of each command line of `zoo` and of `python`, without comments and what stands before."""
    return commands_of(PAGES[page])


def commands_of(text):
    for line in lines(text):
        for part in re.split(r"&&|\|\|", line.removeprefix("$ ")):
            found = re.match(r"\s*(?:\w+=\S+ )*((?:zoo|python) .*)", part)
            if found:
                # An odd quote is the end of a script that the line is the last of.
                command = found[1].rstrip("'") if found[1].count("'") % 2 else found[1]
                yield shlex.split(command, comments=True)


def parse(words):
    """Raises what click raises where `zoo WORDS` is not a command line; the name of a command alone is enough."""
    command = cli.commands
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(click.Context(command)).parse_args(list(words))
        if not rest or rest[0] == "COMMAND":
            return
        name, command, words = command.resolve_command(click.Context(command), rest)
    if words:
        command.make_context(name, list(words))


@pytest.mark.parametrize("page", PAGES)
def test_zoo_takes_every_command_line_that_is_printed(page):
    for words in commands(page):
        if words[0] == "zoo" and "--help" not in words and shlex.join(words) not in MENTIONED:
            try:
                parse(words[1:])
            except click.ClickException as error:
                pytest.fail(f"{page}: {shlex.join(words)}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES)
def test_every_script_that_is_named_exists_and_has_the_options(page):
    for _, script, *words in (words for words in commands(page) if words[0] == "python"):
        if script != "-c" and script not in SCRIPTS:
            code = (ROOT / script).read_text("utf-8")
            missing = [word for word in words if word.startswith("--") and f'"{word}"' not in code]
            assert missing == [], f"{page}: python {script}"


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_is_named_is_one_of_a_command(page):
    known = {option for command in leaves(cli.commands) for each in command.params for option in each.opts}
    known |= {
        word
        for script in [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("docs/learn/*.py")]
        for word in re.findall(r'"(--[\w-]+)"', script.read_text("utf-8"))
    }
    named = re.findall(r"`(--[\w-]+)", FENCE.sub("", PAGES[page]))
    assert [option for option in named if option not in known | {"--help"}] == []


def leaves(command):
    yield command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from leaves(inner)


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_known_kind_and_can_be_compiled(page):
    assert {language for language, _ in FENCE.findall(PAGES[page])} <= SHELL | DATA | {"python"}
    for code in blocks(page, {"python"}):
        ast.parse(code)
    for block in blocks(page, {"sh"}):
        block = re.sub(r"'[^']*'", "''", block)  # a script within
        for line in block.splitlines():
            program = re.sub(r"^(\w+=\S+ )+", "", line).split()[:1]
            assert set(program) <= OTHERS | {"zoo"} or line.startswith("#SBATCH"), f"{page}: {line}"
