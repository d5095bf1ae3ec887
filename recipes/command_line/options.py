"""Options that several commands share, each a decorator of a command."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from recipes.command_line.names import AVERAGE, DATA
from recipes.command_line.values import Choice, Shape
from zoo.errors import RequestError

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value instead of text.")
quiet = click.option("--quiet", is_flag=True, help="No progress.")
_RESIZE = Choice(["fill", "fit", "stretch"])
resize = click.option("--resize", type=_RESIZE, default="fill", show_default=True)
resize_if_asked = click.option("--resize", type=_RESIZE, help="[default: that of the recipe or run, else fill]")
skip_bad = click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be used.")
split_near_duplicates = click.option(
    "--split-near-duplicates",
    is_flag=True,
    help="Let near duplicates come into different parts: for a fixed camera.",
)
data = click.option(
    "--data", type=DATA, required=True, help="digits, tfds:NAME, a folder of class folders or shards, or a table.csv."
)
devices = click.option(
    "--devices",
    default="1",
    show_default=True,
    help="Who shares the work: a number of GPUs, all, gpu:0,gpu:2 or cpu.",
)


average = click.option(
    "--average",
    type=AVERAGE,
    metavar="mirror|c4|d4|6",  # `recipes.evaluate.averaging.AVERAGES`, which would bring in NumPy
    help="Average scores (probabilities) over mirrored (mirror), rotated (c4), both (d4), or mirrored and by a pixel "
    "shifted copies (6) of each image; the model is run 2, 4, 8 or 6 times.",
)


def overrides(what: str) -> Callable[[Command], Command]:
    """`--set KEY=VALUE`, any number of times; `what` is its help."""
    return click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help=what)


def training_options(command: Command, data: Callable[[Command], Command] = data) -> Command:
    """The options that every training takes, from scratch or not."""
    options = (
        data,
        click.option("--out", required=True, type=click.Path(path_type=Path), help="The run folder to make."),
        overrides("Change one setting of the recipe."),
        click.option("--input-shape", "shape", type=Shape(), help="Short for --set model.input_shape=[H,W,C]."),
        resize_if_asked,
        click.option("--skip-bad", is_flag=True, help="Leave out files that cannot be used; the run lists them."),
        split_near_duplicates,
        click.option("--seed", type=int, help="Short for --set seed=N."),
        click.option("--tensorboard", is_flag=True, help="Also write for TensorBoard, in the run folder."),
        click.option("--overwrite", is_flag=True, help="Replace the run in --out, with everything in its folder."),
        quiet,
        as_json,
    )
    for option in reversed(options):
        command = option(command)
    return command


def finetuning_options(command: Command) -> Command:
    """Those of a training that goes on from elsewhere; a run that is quantised has its images."""
    where = (
        "digits, tfds:NAME, a folder of class folders, or a table.csv; with --recipe qat where the run's own are now."
    )
    return training_options(command, click.option("--data", type=DATA, help=where))


def launchable(
    resumed: Callable[[Mapping[str, Any]], Sequence[str]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options that have a cluster run the command line, once a worker.

    Args:
        resumed: of a command with a run folder `out`: from its settings the command line that goes on with it.
    """

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option("--launch", type=Choice(["ray"]), help="Have a Ray cluster start the workers.")
        @click.option("--workers", type=click.IntRange(1), help="How many, for --launch.")
        @click.option(
            "--retries",
            type=click.IntRange(0),
            help="For --launch: how often a lost worker is replaced.  [default: 3]",
        )
        @functools.wraps(command)
        def started(launch: str | None, workers: int | None, retries: int | None, **settings: Any) -> Any:
            from recipes.distributed.launch import RETRIES, Resumed, is_placed, on_ray

            if (launch is None) != (workers is None):
                raise RequestError("--launch and --workers go together: --launch ray --workers 4.")
            if launch is None and retries is not None:
                raise RequestError("--retries goes with --launch: --launch ray --workers 4 --retries 3.")
            if workers is None or is_placed():
                return command(**settings)
            root = click.get_current_context().find_root()
            again = None
            if resumed:
                plugins = [part for plugin in root.params["plugins"] for part in ("--plugin", str(plugin))]
                again = Resumed(settings["out"], [*plugins, *resumed(settings)])
            return on_ray(root.obj, workers, retries=RETRIES if retries is None else retries, resumed=again)

        return started

    return decorated
