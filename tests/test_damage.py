"""Damaged runs and studies: every command says in one line which file it is, and leaves everything as it was."""

import json
import os
import re
import shutil
import zipfile
from io import BytesIO

import numpy as np
import pytest

import cli
from recipes.run.folder import Run
from recipes.search.space import Space
from recipes.search.study import Search, Study
from recipes.training import checkpoint
from recipes.training.checkpoint import State
from zoo.errors import FailureError, RequestError

DEEP, LONG = b"[" * 100_000, b"9" * 10_000
DAMAGES = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: max(content.rfind(b",", 0, len(content) // 2), len(content) // 3)],
    "not UTF-8": lambda content: content[:20] + b"\xff\xfe" + content[20:],
    "of zeros": lambda content: bytes(len(content)),
    "a list": lambda content: b"[]",
    "deep": lambda content: b"x = " + DEEP if content.startswith((b"schema = ", b"folds = ")) else DEEP,
    "of many digits": lambda content: (
        b"x = " + LONG
        if content.startswith((b"schema = ", b"folds = "))
        else content.replace(b'{"', b'{"x":' + LONG + b',"', 1).replace(b"{\n", b'{"x":' + LONG + b",", 1)
    ),
    "of binary": lambda content: bytes(range(256)) * 9,
}
IN_ITS_PLACE = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a lost link": lambda path: path.symlink_to("nowhere"),
}


@pytest.fixture(scope="module")
def whole(digits_run, tmp_path_factory):
    """A finished run with all the files that a run can have."""
    folder = shutil.copytree(digits_run.path, tmp_path_factory.mktemp("damaged") / "run")
    assert (folder / "data.json").is_file()
    (folder / "export.json").write_text(json.dumps({"int8": {"file": "x.tflite", "bytes": 1}}))
    return folder


@pytest.fixture
def commands(whole, digit_image, tmp_path):
    """The command lines that read a run."""
    run, out = str(whole), str(tmp_path / "out")
    return [
        ["resume", run],
        ["evaluate", run],
        ["evaluate", run, "--data", "digits"],
        ["export", run, "--to", "float32"],
        ["report", run],
        ["compare", run, run],
        ["predict", run, str(digit_image)],
        ["finetune", run, "--data", "digits", "--out", out],
        ["embed", run, "digits", "--out", f"{out}.npz"],
    ]


def state_of(folder):
    return {
        str(path): path.read_bytes() if path.is_file() else os.readlink(path) if path.is_symlink() else None
        for path in sorted(folder.rglob("*"))
        if path.name != ".lock"
    }


def refused(command, capsys):
    """The one line of a command that does not do what was asked."""
    assert cli.main(command) == 2, command
    out, told = capsys.readouterr()
    assert out == ""
    assert told.startswith("Error: ")
    assert told.count("\n") == 1, told
    assert len(told) < 1000, told
    return told


@pytest.mark.parametrize("damage", [*DAMAGES, *IN_ITS_PLACE])
@pytest.mark.parametrize(
    "name", ["recipe.toml", "labels.txt", "history.csv", "metrics.json", "export.json", "data.json"]
)
def test_every_command_names_the_file_that_is_damaged(whole, commands, capsys, name, damage):
    file, kept = whole / name, (whole / name).read_bytes()
    if damage in DAMAGES:
        if (changed := DAMAGES[damage](kept)) == kept:
            pytest.skip("there is nothing of the kind in it")
        file.write_bytes(changed)
    else:
        file.unlink()
        IN_ITS_PLACE[damage](file)
    before = state_of(whole)
    try:
        for command in commands:
            told = refused(command, capsys)
            assert name in told, told
        assert state_of(whole) == before
    finally:
        shutil.rmtree(file) if file.is_dir() else file.unlink()
        file.write_bytes(kept)


METRICS_OF_OTHERS = {
    "accuracy": ["much", None, [], 10**400, True],
    "class_names": [[], "0123456789", ["0", 1], ["zero"]],
    "confusion_matrix": [[], [[1]], [[-1] * 10] * 10, {}, 5],
    "most_confused": [{}, [{}], [{"true": "0", "predicted": 1, "images": 2}]],
    "per_class": [{}, {"0": {}}, [], {"0": {"precision": "high"}}],
    "worst_mistakes": [{}, [{}], [{"index": -1}]],
    "accuracy_interval": [[], [0.5], 0.5],
    "top_k": [5, {}, None],
    "task": ["dance", ["classification"], 7],
    "invariance": [[], {}, {"overall": None}, {"overall": 1, "rotation": {"values": [], "score": 1}}],
    "equivariance": [{}, [{}], [{"layer": "c", "stride": 0, "error": 1}]],
    "wrong": [[-1], "all", [0.5]],
    "examples": [None, -1, "many", 10**30],
}


@pytest.mark.parametrize("key", METRICS_OF_OTHERS)
def test_metrics_of_another_shape_are_told_by_their_key(whole, capsys, key):
    file, kept = whole / "metrics.json", (whole / "metrics.json").read_text()
    try:
        for value in METRICS_OF_OTHERS[key]:
            file.write_text(json.dumps(json.loads(kept) | {key: value}))
            told = refused(["compare", str(whole)], capsys)
            assert "metrics.json" in told or "labels.txt" in told
            assert f"remove it, and `zoo evaluate {whole}` writes it anew" in told or key == "class_names"
    finally:
        file.write_text(kept)


def test_a_finished_run_is_not_trained_again_whatever_became_of_its_metrics(whole, capsys):
    file, kept = whole / "metrics.json", (whole / "metrics.json").read_text()
    try:
        for content in ("[]", "{}", "null", "", None):
            if content is None:
                file.unlink()
            else:
                file.write_text(content)
            before = state_of(whole)
            told = refused(["resume", str(whole)], capsys)
            assert "zoo evaluate" in told
            assert state_of(whole) == before
    finally:
        file.write_text(kept)


def test_a_model_of_another_run_is_told(whole, trained):
    (whole / "other").mkdir()
    try:
        run = Run(shutil.copytree(whole, whole / "other" / "run", ignore=shutil.ignore_patterns("other")))
        run.write_text("labels.txt", "\n".join("012345678") + "\n")
        with pytest.raises(RequestError, match=r"model\.keras gives 10 scores; there are 9 labels"):
            run.load_model()
        run.write_text("labels.txt", "\n".join("0123456789") + "\n")
        run.write_recipe(
            run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"image_shape": (28, 28, 1)})})
        )
        with pytest.raises(RequestError, match=r"model\.keras takes .*; the run's images are \(28, 28, 1\)"):
            run.load_model()
    finally:
        shutil.rmtree(whole / "other")


@pytest.mark.parametrize("shape", ["[0, 28, 1]", "[28, -1, 1]", "[28, 28]", "[28, 28, 1, 1]", "[100000, 100000, 3]"])
def test_zero_dimensions_are_refused_with_the_recipe(whole, capsys, shape):
    file, kept = whole / "recipe.toml", (whole / "recipe.toml").read_text()
    changed, count = re.subn(r"image_shape = \[[^]]*\]", f"image_shape = {shape}", kept)
    assert count == 1
    try:
        file.write_text(changed)
        assert "data.image_shape" in refused(["evaluate", str(whole)], capsys)
    finally:
        file.write_text(kept)


def arrays(**given):
    out = BytesIO()
    np.savez(out, **given)
    return out.getvalue()


def as_bytes(value):
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


FACTS = {"history": [{"epoch": 1, "loss": 1.0}], "best_epoch": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04",
        b"\x93NUMPY",
        arrays(weights=np.zeros(3)),
        arrays(facts=as_bytes([])),
        arrays(facts=as_bytes(FACTS | {"best_epoch": 2})),
        arrays(facts=as_bytes(FACTS | {"history": [{"epoch": "one"}]})),
        arrays(facts=as_bytes(FACTS | {"history": []})),
        arrays(facts=np.frombuffer(DEEP, np.uint8)),
        arrays(facts=np.frombuffer(b'{"best_epoch": ' + LONG + b"}", np.uint8)),
        arrays(facts=np.array(["x"], object)),
        arrays(facts=as_bytes(FACTS), **{"weights/0": np.array(["text"])}),
        arrays(facts=as_bytes(FACTS), **{"weights/1": np.zeros(3)}),
    ],
)
def test_a_damaged_checkpoint_is_one_line(tmp_path, content):
    (tmp_path / "state.npz").write_bytes(content)
    with pytest.raises(FailureError, match=r"state\.npz (is damaged|cannot be read): .*Remove it") as caught:
        checkpoint.load(tmp_path / "state.npz")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_archive_that_is_packed_in_another_way_is_refused(whole, tmp_path, method):
    from recipes.run.keras_file import load_keras_file

    checkpoint.save(State([{"epoch": 1, "loss": 1.0}], best_epoch=1), tmp_path / "state.npz")
    for source, load, error in (
        (tmp_path / "state.npz", checkpoint.load, FailureError),
        (whole / "model.keras", load_keras_file, RequestError),
    ):
        other = tmp_path / f"other{source.suffix}"
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(other, "w", method) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))
        with pytest.raises(error, match=rf"other\{source.suffix} cannot be read: .* is packed by method {method}"):
            load(other)


def test_a_header_that_promises_more_than_there_is_takes_no_memory(tmp_path):
    content = BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (2**40,)})
    with zipfile.ZipFile(tmp_path / "state.npz", "w") as archive:
        archive.writestr("facts.npy", content.getvalue())
    with pytest.raises(FailureError, match=r"facts has 0 bytes for float64 of shape \(1099511627776,\)"):
        checkpoint.load(tmp_path / "state.npz")


@pytest.fixture
def unfinished(whole, tmp_path):
    """A run that was killed after its first epoch."""
    run = Run(shutil.copytree(whole, tmp_path / "unfinished"))
    for name in ("metrics.json", "model.keras", "export.json"):
        (run.path / name).unlink()
    (run.path / "checkpoints").mkdir(exist_ok=True)
    return run


@pytest.mark.parametrize("content", [b"", b"PK", arrays(facts=as_bytes(FACTS))])
def test_a_training_with_a_damaged_checkpoint_does_not_go_on(unfinished, capsys, content):
    (unfinished.path / "checkpoints" / "state.npz").write_bytes(content)
    assert cli.main(["resume", str(unfinished.path), "--quiet"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "state.npz" in told
    assert "Remove it" in told


def test_a_run_whose_empty_folder_was_not_copied_goes_on(unfinished):
    (unfinished.path / "checkpoints").rmdir()
    with unfinished.lock():
        unfinished.tidy()
    assert unfinished.checkpoints == []
    (unfinished.path / "checkpoints").rmdir()
    (unfinished.path / "checkpoints").write_text("")
    with pytest.raises(RequestError, match="checkpoints cannot be written"):
        unfinished.tidy()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with two trials that nobody trained."""
    from recipes.training.resolving import resolve

    search = Search(
        recipe=resolve("lenet5", "digits"),
        space=Space(space={"epochs": [1, 2, 3]}),
        folds=2,
        sampler="random",
        pruner="none",
    )
    study = Study.create(tmp_path_factory.mktemp("studies") / "study", search)
    study.join()
    own = study.trials()
    for score in (0.5, 0.75):
        trial = own.ask()
        trial.set_user_attr("settings", ["epochs=1"])
        trial.set_user_attr("folds", [score, score])
        own.tell(trial, score)
    return study


def test_a_whole_study_is_listed(study, capsys):
    assert cli.main(["tune", "--show", str(study.path)]) == 0
    assert "0.7500" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [*DAMAGES, *IN_ITS_PLACE])
@pytest.mark.parametrize("name", ["study.toml", "journal.log"])
def test_a_damaged_study_is_told_by_its_file(study, capsys, tmp_path, name, damage):
    file, kept = study.path / name, (study.path / name).read_bytes()
    if damage in DAMAGES:
        if name == "journal.log" and damage in ("empty", "cut off", "a list", "of zeros", "deep"):
            pytest.skip("a last line that is not ended is what a killed writer leaves")
        file.write_bytes(DAMAGES[damage](kept))
    else:
        file.unlink()
        IN_ITS_PLACE[damage](file)
    try:
        going_on = ["tune", "lenet5", "--data", "digits", "--trials", "2", "--quiet", "--out", str(study.path)]
        for command in (["tune", "--show", str(study.path)], *([going_on] if name == "study.toml" else [])):
            told = refused(command, capsys)
            assert name in told or damage in IN_ITS_PLACE, told
    finally:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        file.write_bytes(kept)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"op_code":4', b'"op_code":77'),
        (b'"op_code":4', b'"op_code":5'),
        (b'["epochs=1"]', b'"epochs=1"'),
        (b'["epochs=1"]', b"[1]"),
        (b"[0.5,0.5]", b'{"folds":2}'),
        (b'"worker_id"', b'"worker"'),
        (b'"settings"', b'"again"'),
        (b'"user_attr":{"settings":["epochs=1"]}', b'"user_attr":{"again":1}'),
    ],
)
def test_a_journal_of_another_shape_is_told(study, capsys, old, new):
    kept = study.journal.read_bytes()
    assert old in kept
    try:
        study.journal.write_bytes(kept.replace(old, new))
        assert "journal.log is damaged" in refused(["tune", "--show", str(study.path)], capsys)
    finally:
        study.journal.write_bytes(kept)
