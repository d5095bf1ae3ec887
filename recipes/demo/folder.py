"""The folder of the page: written, and written again."""

import json
import shutil
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from recipes.demo.contents import Contents, check_runs_in_browser, contents_of
from recipes.demo.runtime import Runtime, from_cdn, from_folder
from recipes.run.folder import Run
from recipes.scorers.tflite import TFLiteScorer
from recipes.support.files import check_writable, write_whole
from zoo.backend import as_keras_ships
from zoo.errors import RequestError

PAGE, FACTS, MODEL, ARRAYS = "index.html", "demo.json", "model.tflite", "examples.bin"
SOURCES = ("demo.js", "style.css")
PREFERRED = ("int8", "float16", "dynamic", "float32")  # of the files that a run has been exported to


@dataclass(frozen=True)
class Demo:
    """What was written.

    Attributes:
        out: the folder.
        file: the `.tflite` file that is in it.
        bytes: of all that is in it.
        images: that the page verifies itself with.
        runtime: the version of LiteRT.js.
        origin: where the page loads that from; empty if it lies in the folder.
        remarks: what is worth knowing, a sentence each.
    """

    out: str
    file: str
    bytes: int
    images: int
    runtime: str
    origin: str
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**vars(self), "remarks": list(self.remarks)}


@as_keras_ships
def write_demo(
    source: str | Path, *, out: str | Path = "demo", data: str | None = None, runtime: str | Path | None = None
) -> Demo:
    """Writes a folder with a static page that runs a `.tflite` file in the browser, the very bytes.

    The page needs a web server, any, and no internet connection if LiteRT.js is copied. It verifies itself each time
    that it is loaded, on images with the scores that LiteRT gave for them here.

    Args:
        source: a `.tflite` file, of ours or not; or a run, which is exported as float32 unless it has a file already.
        out: the folder; one that a demo was written to before is written again.
        data: images to show and to verify with, see `recipes.data.load`; those of the file's run if None.
        runtime: the folder that npm has put `@litertjs/core` into, to be copied; else the page loads it from a CDN.

    Raises:
        RequestError: a file that LiteRT.js does not take, or a folder with something else.
        FailureError: it cannot be written.
    """
    folder = Path(out)
    _check_out(folder)
    litert = from_cdn() if runtime is None else from_folder(runtime)
    scorer = TFLiteScorer(_file_of(Path(source)))
    check_runs_in_browser(scorer)
    contents = contents_of(scorer, data)
    _write(folder, contents, litert)
    written = [place for place in folder.rglob("*") if place.is_file()]
    return Demo(
        str(folder),
        str(scorer.path),
        sum(place.stat().st_size for place in written),
        int(contents.facts["examples"]["count"]),
        litert.version,
        litert.origin,
        contents.remarks,
    )


def _file_of(source: Path) -> Path:
    """The file itself, or that of a run."""
    if not source.is_dir():
        if source.exists() and source.suffix.lower() != ".tflite":
            raise RequestError(f"{source} is no .tflite file; allowed: such a file, or a run.")
        return source
    run = Run.open(source)
    kept = {kind: source / f"{run.recipe.model.name}-{kind}.tflite" for kind in PREFERRED}
    if found := [file for file in kept.values() if file.is_file()]:
        return found[0]
    from recipes.export.handover import export

    return Path(export(run, to="float32").file)


def _check_out(folder: Path) -> None:
    """Raises a `RequestError` for a folder that cannot be written, or that holds something other than a demo."""
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder} is a file; allowed: a new folder, an empty one, or one of an earlier demo.")
    if folder.is_dir() and any(folder.iterdir()) and not _is_ours(folder):
        raise RequestError(
            f"{folder} holds something else than a demo; "
            "allowed: a new folder, an empty one, or one of an earlier demo."
        )
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    check_writable(folder, there)


def _is_ours(folder: Path) -> bool:
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        return (folder / PAGE).is_file() and str(facts["made_with"]).startswith("convzoo ")
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _write(folder: Path, contents: Contents, runtime: Runtime) -> None:
    """Each file whole; the page comes last."""
    copied = {
        place.parents[1] / "package.json": file for file, place in runtime.copied.items() if file.endswith("index.js")
    }
    facts = {
        "made_with": f"convzoo {version('convzoo')}",
        **contents.facts,
        "model_file": MODEL,
        "arrays": ARRAYS,
        "runtime": runtime.to_dict(),
    }
    texts = {name: (files("recipes.demo") / "page" / name).read_text("utf-8") for name in SOURCES}
    texts |= {FACTS: f"{json.dumps(facts, ensure_ascii=False)}\n", PAGE: page_of(facts, runtime)}
    folder.mkdir(parents=True, exist_ok=True)
    old = folder / "runtime"
    if old.is_dir() and not old.is_symlink():  # of an earlier demo, and perhaps of another version
        shutil.rmtree(old)
    for file, place in runtime.copied.items():
        _copy(place, folder / "runtime" / file)
    for place, file in copied.items():  # says version and licence
        if place.is_file():
            _copy(place, folder / "runtime" / file.split("/")[0] / "package.json")
    write_whole(folder / MODEL, lambda aside: aside.write_bytes(contents.model))
    write_whole(folder / ARRAYS, lambda aside: aside.write_bytes(contents.arrays))
    for name, text in texts.items():
        write_whole(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))


def _copy(place: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    write_whole(to, lambda aside: aside.write_bytes(place.read_bytes()))


def page_of(facts: Mapping[str, Any], runtime: Runtime) -> str:
    """The HTML, which loads nothing but what lies beside it, and LiteRT.js."""
    imports = json.dumps(runtime.import_map(), indent=1)
    digest = b64encode(sha256(imports.encode()).digest()).decode()
    return Template((files("recipes.demo") / "page" / PAGE).read_text("utf-8")).substitute(
        title=escape(str(facts["model"])),
        file=escape(str(facts["file"])),
        version=escape(str(facts["made_with"])),
        imports=imports.replace("<", "\\u003c"),
        digest=digest,
        origin=f" {runtime.origin}" if runtime.origin else "",
    )
