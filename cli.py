"""The command line: `zoo`. Each command parses, calls one recipe, and prints what it returns.

Results go to stdout, progress and warnings to stderr. Exit code 2: a request that cannot be met; 1: a failure.
Heavy imports are inside the commands, so that `zoo list`, `zoo --help` and a mistyped name answer at once.
"""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

import zoo
from recipes.command_line import files, images, judge, models, train
from recipes.command_line.group import Commands
from zoo.errors import FailureError, RequestError, first_line, of_machine
from zoo.terminal import escaped, outlets, unescaped


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="convzoo", prog_name="zoo")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="Run this file first, which registers models of your own; give it again for more. ZOO_PLUGINS names others.",
)
def commands(plugins: tuple[Path, ...]) -> None:
    """Convolutional image models, from a set of images to a verified .tflite file.

    \b
    zoo fit lenet5 --data digits --out runs/first
    zoo evaluate runs/first
    zoo export runs/first --to int8
    zoo predict runs/first/lenet5-int8.tflite image.png
    """
    for plugin in plugins:
        zoo.load_plugin(plugin)


for command in (
    *(models.list_, models.show, models.recipes_),
    *(images.data_, images.augment),
    *(train.fit, train.finetune, train.resume, train.tune, train.cross_validate_, train.embed),
    *(judge.evaluate, judge.compare, judge.report, judge.predict),
    *(files.export, files.inspect, files.benchmark, files.demo),
):
    commands.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code. Every error is one line on stderr.

    `ZOO_TRACEBACK=1` in the environment shows where in the program an error comes from, too.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if any("error" in option for option in sys.warnoptions):
        warnings.simplefilter("default")  # what a library deprecates is no error of a command
    for library in ("absl", "tensorflow"):  # their remarks on themselves
        logging.getLogger(library).setLevel(logging.ERROR)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "_ZOO_COMPLETE" in os.environ:  # the shell asks for completions; click answers in bytes, which no outlet takes
        return _run(arguments)
    with outlets() as (out, _):
        code = _run(arguments)
        out.flush()
        if out.failure and not code:
            why = getattr(out.failure, "strerror", None) or first_line(out.failure)
            return _fail(f"what this command printed is lost: {why}.", 1)
    return code


def _run(arguments: list[str]) -> int:
    try:
        code: int | None = commands.main(arguments, prog_name="zoo", standalone_mode=False, obj=arguments)
        return code or 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted.", 130)
    except Exception as error:
        if os.environ.get("ZOO_TRACEBACK"):
            traceback.print_exc()
        return _fail(*_told(error))


def _told(error: Exception) -> tuple[str, int]:
    """An error in one line, and its exit code."""
    if isinstance(error, click.ClickException):
        return " ".join(error.format_message().split()), error.exit_code
    if isinstance(error, RequestError):
        return str(error), 2
    if isinstance(error, FailureError):
        return str(error), 1
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"this needs {error.name.split('.')[0]}, which is not installed: pip install convzoo", 2
    if fault := of_machine(error):
        return str(fault), 1
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):  # a name that the system does not take
        return f"{os.fsdecode(error.filename)}: {error.strerror or first_line(error)}.", 2
    kind = type(error).__name__
    said = f"{kind}: {first_line(error)}" if str(error).strip() else kind
    return f"{said} (not foreseen; with ZOO_TRACEBACK=1 in the environment it says where).", 1


def _fail(message: str, code: int) -> int:
    click.secho(f"Error: {escaped(message)}", file=unescaped(sys.stderr), fg="red")
    return code


if __name__ == "__main__":
    sys.exit(main())
