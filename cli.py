"""The command line: `zoo`. Each command parses, calls one recipe, and prints what it returns.

Results go to stdout, progress and warnings to stderr. Exit code 2: a request that cannot be met; 1: a failure.
Heavy imports are inside the commands, so that `zoo list`, `zoo --help` and a mistyped name answer at once.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

import zoo
from zoo.errors import FailureError, RequestError, unknown

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value instead of text.")


class Commands(click.Group):
    """A group that answers a mistyped command with the nearest one."""

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and self.get_command(context, args[0]) is None:
            raise unknown("command", args[0], self.commands)
        return super().resolve_command(context, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="convzoo", prog_name="zoo")
def commands() -> None:
    """Convolutional image models, from a set of pictures to a proven .tflite file.

    \b
    zoo fit lenet5 --data digits --out runs/first
    zoo evaluate runs/first
    zoo export runs/first --to int8
    zoo predict runs/first/lenet5-int8.tflite picture.png
    """


@commands.command("list")
@click.argument("pattern", default="*")
@click.option("--sort", type=click.Choice(["name", "params"]), default="name", show_default=True)
@as_json
def list_(pattern: str, sort: str, as_json: bool) -> None:
    """List the models whose name matches PATTERN.

    \b
    Example: zoo list 'l*' --sort params
    """
    cards = [zoo.get_card(name) for name in zoo.list_models(pattern)]
    if sort == "params":
        cards.sort(key=lambda card: card.parameters)
    if as_json:
        _print_json([card.to_dict() for card in cards])
        return
    rows = [(c.name, _size(c.input_shape), f"{c.parameters:,}", str(c.paper.year), c.summary) for c in cards]
    _print_table(["model", "picture", "parameters", "year", "what it is"], rows, right=[2])


@commands.command()
@click.argument("model")
@as_json
def show(model: str, as_json: bool) -> None:
    """Show the facts of MODEL: paper, picture size, parameters, head, options.

    \b
    Example: zoo show lenet5
    """
    facts = zoo.get_card(model).to_dict()
    if as_json:
        _print_json(facts)
        return
    paper, scaling = facts["paper"], facts["scaling"]
    hidden = " > ".join(str(units) for units in facts["hidden"])
    rows = [
        ("model", facts["name"]),
        ("what it is", facts["summary"]),
        ("paper", f"{paper['title']} ({paper['authors']}, {paper['year']}) {paper['url']}"),
        ("picture", f"{_size(facts['input_shape'])}, pixels 0-255"),
        ("pixels become", f"pixel * {scaling['scale']:.6g} + {scaling['offset']:g}, inside the model"),
        ("head", facts["pooling"] + (f", hidden layers {hidden}" if hidden else "")),
        ("classes", str(facts["classes"])),
        ("parameters", f"{facts['parameters']:,}"),
        *((f"option {name}", f"{o['default']}  ({o['allowed']})") for name, o in facts["options"].items()),
        *([("notes", facts["notes"])] if facts["notes"] else []),
    ]
    _print_table(["", ""], rows)


@commands.command("recipes")
@click.argument("name", required=False)
@as_json
def recipes_(name: str | None, as_json: bool) -> None:
    """List the recipes, or print the one called NAME with everything in it resolved.

    \b
    Example: zoo recipes digits > mine.toml
    """
    import tomli_w

    from recipes.preset import list_recipes, load_recipe

    if name:
        settings = load_recipe(name).model_dump(mode="json", exclude_none=True)
        if as_json:
            _print_json(settings)
        else:
            click.echo(tomli_w.dumps(settings), nl=False)
        return
    presets = {name: load_recipe(name) for name in list_recipes()}
    if as_json:
        _print_json([{"name": name, **recipe.about.model_dump()} for name, recipe in presets.items()])
        return
    rows = [(name, str(recipe.epochs), recipe.about.summary) for name, recipe in presets.items()]
    _print_table(["recipe", "epochs", "what it is for"], rows, right=[1])


@commands.command()
@click.argument("model", required=False)
@click.option("--data", required=True, help="digits, tfds:NAME, a folder of class folders, or a table.csv.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run folder to make.")
@click.option("--recipe", help="A name from `zoo recipes` or a TOML file.  [default: by the data]")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one setting of the recipe.")
@click.option("--epochs", type=int, help="Short for --set epochs=N.")
@click.option("--seed", type=int, help="Short for --set seed=N.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out, with everything in its folder.")
@click.option("--quiet", is_flag=True, help="No progress.")
@as_json
def fit(
    model: str | None,
    data: str,
    out: Path,
    recipe: str | None,
    overrides: tuple[str, ...],
    epochs: int | None,
    seed: int | None,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train MODEL from scratch and leave a run folder.

    \b
    Example: zoo fit lenet5 --data digits --out runs/first
    """
    from recipes.fit import fit

    short = [f"{key}={value}" for key, value in (("epochs", epochs), ("seed", seed)) if value is not None]
    fitted = fit(
        model,
        data=data,
        out=out,
        recipe=recipe,
        overrides=[*overrides, *short],
        overwrite=overwrite,
        quiet=quiet,
    )
    for warning in fitted.warnings:
        click.secho(f"Warning: {warning}", err=True, fg="yellow")
    if as_json:
        _print_json({"run": str(out), "best_epoch": fitted.best_epoch, **fitted.metrics})
        return
    click.echo(
        f"{out}: test accuracy {fitted.metrics['accuracy']:.2%} on {fitted.metrics['examples']:,} pictures, "
        f"loss {fitted.metrics['loss']:.4f}, weights of epoch {fitted.best_epoch}.\n"
        f"Next: zoo evaluate {out}\n      zoo export {out} --to int8\n      zoo predict {out} PICTURE..."
    )


@commands.command()
@click.argument("run", type=click.Path(path_type=Path))
@as_json
def evaluate(run: Path, as_json: bool) -> None:
    """Score RUN on its test pictures; leaves metrics.json and confusion_matrix.png in it.

    \b
    Example: zoo evaluate runs/first
    """
    from recipes.run import Run

    opened = Run.open(run)
    _load_keras()
    from recipes.evaluate import evaluate

    metrics = evaluate(opened)
    if as_json:
        _print_json(metrics)
        return
    k = metrics["top_k"]
    click.echo(
        f"{run}: accuracy {metrics['accuracy']:.2%}, top-{k['k']} {k['accuracy']:.2%}, loss {metrics['loss']:.4f}, "
        f"{metrics['examples']:,} test pictures\n"
    )
    rows = [
        (name, f"{c['precision']:.1%}", f"{c['recall']:.1%}", f"{c['f1']:.1%}", str(c["support"]))
        for name, c in metrics["per_class"].items()
    ]
    _print_table(["class", "precision", "recall", "f1", "pictures"], rows, right=[1, 2, 3, 4])
    names = metrics["class_names"]
    matrix = [(name, *(str(n) for n in row)) for name, row in zip(names, metrics["confusion_matrix"], strict=True)]
    click.echo("\nRows are true classes, columns are guesses:")
    _print_table(["", *names], matrix, right=range(1, len(names) + 1))
    click.echo(f"\nDrawn in {run / 'confusion_matrix.png'}")


@commands.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", default="int8", show_default=True, help="float32, float16, dynamic or int8.")
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: RUN/MODEL-TO.tflite]")
@click.option("--budget", multiple=True, metavar="KEY=SHARE", help="agreement=0.98 or drop=0.02: what is let pass.")
@as_json
def export(run: Path, to: str, out: Path | None, budget: tuple[str, ...], as_json: bool) -> None:
    """Export RUN to a .tflite file, proven on the test pictures to behave like the model.

    \b
    Example: zoo export runs/first --to int8 --out digits.tflite
    """
    from recipes.run import Run

    opened = Run.open(run)
    _load_keras()
    from recipes.export import export

    exported = export(opened, to=to, out=out, budget=dict(_share(item) for item in budget))
    if as_json:
        _print_json(exported.to_dict())
        return
    rows = [
        ("file", exported.file),
        ("size", f"{exported.bytes:,} bytes"),
        ("accuracy", f"{exported.accuracy_file:.2%} (Keras model {exported.accuracy_keras:.2%})"),
        ("same top-1", f"{exported.agreement:.2%}"),
        ("largest difference", f"{exported.max_difference:.2g} of a score"),
        ("operators", ", ".join(f"{count} {name}" for name, count in exported.operators.items())),
    ]
    _print_table(["", ""], rows)


@commands.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", "top_k", default=3, show_default=True, help="How many guesses a picture.")
@as_json
def predict(source: Path, images: tuple[Path, ...], top_k: int, as_json: bool) -> None:
    """Name what is in IMAGES; SOURCE is a run folder or a .tflite file.

    \b
    Example: zoo predict runs/first/lenet5-int8.tflite three.png four.jpg
    """
    from recipes.predict import predict

    predictions = predict(source, images, top_k=top_k)
    if as_json:
        _print_json(
            [{"image": p.image, "guesses": [{"name": n, "score": s} for n, s in p.guesses]} for p in predictions]
        )
        return
    rows = [(p.image, "  ".join(f"{name} {score:.1%}" for name, score in p.guesses)) for p in predictions]
    _print_table(["picture", "best guesses"], rows)


@commands.group("data", cls=Commands)
def data_() -> None:
    """Look at a set of pictures before it is trained on.

    \b
    zoo data check photos/
    """


@data_.command("check")
@click.argument("data")
@click.option("--task", help="classification, multilabel or regression: how a table's labels are meant.")
@click.option("--quiet", is_flag=True, help="No progress.")
@as_json
def check(data: str, task: str | None, quiet: bool, as_json: bool) -> int:
    """Open every picture of DATA and tell what is wrong with it; exit code 1 if it cannot be trained on as it is.

    DATA is a folder of class folders, with or without train/, validation/ and test/; a folder of IDX files; a CSV or
    TSV table of file and label; tfds:NAME; or digits. Nothing in it is changed.

    \b
    Example: zoo data check photos/ --json
    """
    from recipes.data.doctor import check

    report = check(data, task=task, quiet=quiet)
    if as_json:
        _print_json([finding.to_dict() for finding in report.findings])
        return int(report.errors > 0)
    for kind in dict.fromkeys(finding.kind for finding in report.findings):
        found = [finding for finding in report.findings if finding.kind == kind]
        for finding in found[:10]:
            click.echo(f"{'error' if finding.is_error else 'remark'}  {kind}  {finding.path} {finding.detail}")
        if len(found) > 10:
            click.echo(f"        {kind}  and {len(found) - 10:,} more; --json lists them all")
    classes = "" if report.task == "regression" else f" of {len(report.class_names):,} classes"
    remarks = len(report.findings) - report.errors
    click.echo(
        f"{data}: {report.pictures:,} pictures{classes} can be used; "
        f"{report.errors:,} error{'s' * (report.errors != 1)}, {remarks:,} remark{'s' * (remarks != 1)}."
    )
    return int(report.errors > 0)


def _load_keras() -> None:
    from recipes.quiet import import_keras

    import_keras()


def _share(item: str) -> tuple[str, float]:
    key, _, value = item.partition("=")
    try:
        return key, float(value)
    except ValueError:
        raise RequestError(f"--budget {item!r} is not possible; allowed: agreement=SHARE or drop=SHARE.") from None


def _size(shape: Sequence[int | None]) -> str:
    return "x".join("any" if n is None else str(n) for n in shape)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1))


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> None:
    """Columns as wide as their widest entry; an empty header is left out. Pipes get the whole text, never cut."""
    rows = list(rows)
    lines = [header, *rows] if any(header) else rows
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    aligned = [
        [
            cell.rjust(width) if i in set(right) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    for line in aligned:
        click.echo("  ".join(line).rstrip())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code. Every error is one line on stderr."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)  # TensorFlow's and TFDS' remarks on themselves
    try:
        return commands.main(arguments, prog_name="zoo", standalone_mode=False) or 0
    except RequestError as error:
        return _fail(str(error), 2)
    except FailureError as error:
        return _fail(str(error), 1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted.", 130)


def _fail(message: str, code: int) -> int:
    click.secho(f"Error: {' '.join(message.split())}", err=True, fg="red")
    return code


if __name__ == "__main__":
    sys.exit(main())
