"""From what the user named to the scorer of it."""

from collections.abc import Callable
from pathlib import Path

from recipes.run.folder import Run
from recipes.run.keras_file import refuse_hdf5
from recipes.scorers.scorer import Scorer
from zoo.errors import RequestError


def open_scorer(source: "str | Path | Run | Scorer", *, isolated: bool = True) -> Scorer:
    """A run, or a `.tflite`, `.keras` or `.onnx` file, as something that scores images; one that is open is given back.

    Args:
        source: the run, its folder, or the file.
        isolated: `.tflite` and `.onnx` files run in a child process with limits, as anything must that was not just
            written here.

    Raises:
        RequestError: there is no such thing, it is damaged, or it does not go from one image to scores.
    """
    if isinstance(source, Scorer):
        return source
    path = source.path if isinstance(source, Run) else Path(source)
    if isinstance(source, Run) or path.suffix.lower() not in ENDINGS or path.is_dir():
        return _run(source if isinstance(source, Run) else path)
    return ENDINGS[path.suffix.lower()](path, isolated)


def is_file(source: "str | Path | Run | Scorer") -> bool:
    """Whether it is a file that `open_scorer` takes, by its name; else it is taken for a run."""
    return not isinstance(source, Run | Scorer) and Path(source).suffix.lower() in ENDINGS and not Path(source).is_dir()


def _run(source: Run | Path) -> Scorer:
    from recipes.scorers.models import RunScorer

    if isinstance(source, Path) and source.exists() and not Run(source).is_run:
        refuse_hdf5(source)
        what = f"is not a run: it has no recipe.toml, and is no {', '.join(ENDINGS)} file"
        raise RequestError(f"{source} {what}; allowed: the folder of a run, or such a file.")
    return RunScorer(Run.open(source))


def _tflite(path: Path, isolated: bool) -> Scorer:
    from recipes.scorers.tflite import TFLiteScorer

    return TFLiteScorer(path, isolated=isolated)


def _keras(path: Path, isolated: bool) -> Scorer:
    from recipes.scorers.models import KerasFileScorer

    return KerasFileScorer(path)


def _onnx(path: Path, isolated: bool) -> Scorer:
    from recipes.scorers.onnx import OnnxScorer

    return OnnxScorer(path, isolated=isolated)


ENDINGS: dict[str, Callable[[Path, bool], Scorer]] = {".tflite": _tflite, ".keras": _keras, ".onnx": _onnx}
