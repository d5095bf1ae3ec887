"""Exported files: written, looked into, timed."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from recipes import text
from recipes.command_line.names import DATA, EXPORT_KIND
from recipes.command_line.options import as_json
from recipes.command_line.printing import answer, warn
from recipes.export.kinds import KINDS
from zoo.errors import RequestError


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=EXPORT_KIND,
    default="int8",
    show_default=True,
    help=f"{', '.join(KINDS)}.",
)
@click.option("--all", "every", is_flag=True, help="Every precision of TFLite, as one table.")
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: RUN/MODEL-TO.tflite]")
@click.option("--budget", multiple=True, metavar="KEY=FRACTION", help="agreement=0.98 or drop=0.02: what is allowed.")
@click.option("--data", type=DATA, help="Of a .keras file: images to verify it on. Of a run: where its own are now.")
@click.option("--output-type", default="uint8", show_default=True, help="Scores of int8: uint8 or float32.")
@click.option("--dynamic-size", is_flag=True, help="Leave height and width open; needs a pooled head.")
@click.option("--force", is_flag=True, help="Export a model that hardly beats chance, too.")
@click.option("--no-repair", is_flag=True, help="Of int8: the converter's file as it is, or none.")
@click.option("--author", default="", help="Written into the file.")
@click.option("--license", default="", help="Written into the file.")
@as_json
def export(
    source: Path,
    every: bool,
    out: Path | None,
    budget: tuple[str, ...],
    no_repair: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Export SOURCE, a run or a .keras file, to a file that is verified on the test images to behave like the model.

    \b
    Example: zoo export runs/first --to int8 --out digits.tflite
    """
    from recipes.export.handover import export, export_all
    from recipes.export.parity import BeyondBudgetError

    options["repair"] = not no_repair
    limits = dict(_limit(item) for item in budget)
    if not every:
        try:
            exported = export(source, out=out, budget=limits, **options)
        except BeyondBudgetError as error:
            if error.tried:
                click.echo(f"{text.tried(error.tried)}\n", err=True)
            raise
        answer(as_json, exported.to_dict(), lambda: text.exported(exported))
        return 0
    single = {"--out": out, "--budget": budget, "--dynamic-size": options["dynamic_size"]}
    if given := [name for name, value in single.items() if value]:
        raise RequestError(f"{given[0]} is not possible with --all: export the kinds one by one.")
    of_all = ("data", "force", "repair", "author", "license")
    passed, failed = export_all(source, **{key: options[key] for key in of_all})
    rows = [result.to_dict() for result in passed] + [{"kind": to, "error": why} for to, why in failed.items()]
    answer(as_json, rows, lambda: text.all_exported(passed, failed))
    return int(bool(failed))


def _limit(item: str) -> tuple[str, float]:
    key, _, value = item.partition("=")
    try:
        return key, float(value)
    except ValueError:
        raise RequestError(
            f"--budget {item!r} is not possible; allowed: agreement=FRACTION or drop=FRACTION."
        ) from None


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--memory", is_flag=True, help="Also the memory over time, as TensorFlow Lite Micro plans it.")
@click.option("--against", metavar="RUN", type=click.Path(path_type=Path), help="The error of each layer, by this run.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the memory, or the errors (PNG or SVG).")
@as_json
def inspect(file: Path, memory: bool, against: Path | None, plot: Path | None, as_json: bool) -> None:
    """Show what is inside FILE, a .tflite classifier: inputs, outputs, labels, operators, and size by layer.

    \b
    Example: zoo inspect runs/first/lenet5-int8.tflite --memory
    """
    from recipes.tflite.inspection import inspect

    if against is not None:
        if memory:
            raise RequestError("--memory is not possible with --against: inspect the file once for each.")
        _inspect_against(file, against, plot, as_json)
        return
    inspected = inspect(file, memory=memory or plot is not None)
    if plot is not None and inspected.memory is not None:
        from recipes.tflite.drawing import draw_memory

        draw_memory(inspected.memory, file.name, plot)
    answer(as_json, inspected.to_dict(), lambda: text.inspected(inspected))


def _inspect_against(file: Path, run: Path, plot: Path | None, as_json: bool) -> None:
    from recipes.export.against import compare_layers
    from recipes.export.layers import draw_errors
    from zoo.drawing import check_drawing

    if plot is not None:
        check_drawing(plot)
    errors = compare_layers(file, run)
    if plot is not None:
        draw_errors(errors, f"{file.name} against {run}", plot)
    answer(as_json, [error.to_dict() for error in errors], lambda: text.layer_errors(errors))


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), help="Time this run's Keras model in turn with the files.")
@click.option("--threads", multiple=True, type=int, help="Threads of the interpreter.  [default: 1, and all cores]")
@click.option("--no-xnnpack", is_flag=True, help="Without XNNPACK, which runs what it can by default.")
@click.option("--repeats", default=200, show_default=True, help="Timed runs of each.")
@as_json
def benchmark(
    files: tuple[Path, ...],
    run: Path | None,
    threads: tuple[int, ...],
    no_xnnpack: bool,
    repeats: int,
    as_json: bool,
) -> None:
    """Time FILES (.tflite) in turn, one image at a time; ratios are to the first.

    "cold" is from the file's bytes to the first scores, "memory" what that adds at most to a process of its own; which
    operations XNNPACK ran, and which LiteRT's own kernels, stands below.

    \b
    Example: zoo benchmark runs/first/lenet5-int8.tflite runs/first/lenet5-float32.tflite --threads 1
    """
    from recipes.tflite.latency import benchmark

    timings = benchmark(files, run=run, threads=threads or None, xnnpack=not no_xnnpack, repeats=repeats)
    answer(as_json, [timing.to_dict() for timing in timings], lambda: text.timings(timings))


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", default="demo", show_default=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--data", type=DATA, help="Images to show, and to verify with.  [default: the test images of the file's run]"
)
@click.option(
    "--runtime",
    type=click.Path(path_type=Path),
    help="Copy LiteRT.js from this folder, such as node_modules/@litertjs/core.  [default: loaded from a CDN]",
)
@click.option("--serve", is_flag=True, help="Then serve the page, to this machine only.")
@as_json
def demo(source: Path, serve: bool, as_json: bool, **options: Any) -> None:
    """Write a web page that runs SOURCE, a .tflite file or a run, in the browser: draw, turn, shift, scale, and see.

    \b
    Example: zoo demo runs/first/lenet5-int8.tflite --out demo --serve
    """
    from recipes.demo import write_demo

    written = write_demo(source, **options)
    for remark in written.remarks:
        warn(f"{written.file}: {remark}.")
    answer(as_json, written.to_dict(), lambda: text.demo(written))
    if serve:
        from recipes.demo.server import server_of

        with server_of(written.out) as server:
            click.echo(f"http://{server.server_name}:{server.server_port}/ (Ctrl+C ends it)", err=as_json)
            with suppress(KeyboardInterrupt):
                server.serve_forever()
