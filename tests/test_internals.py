"""Private parts of other packages are used in two files alone, and each is held against what is installed."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from recipes.support.internals import own_features_only, set_trial_attribute, tfds_retries

ROOT = Path(__file__).parents[1]
# What is relied on is named there, one function each, and pinned by a test: of Keras in test_keras_internals.py.
PINS = {"tests/test_keras_internals.py", "tests/test_internals.py"}
KEPT = {
    "zoo/keras_internals.py",
    "recipes/support/internals.py",
    "tests/test_keras_internals.py",
    "tests/test_internals.py",
}
REFLECTION = {"getattr", "setattr", "hasattr"}
DOCUMENTED = {"os._exit"}  # public in spite of its name: the library reference has it, for the child of a fork
NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}  # public, too: only their fields may have other names
PRIVATE_MODULES = ("keras.src", "tensorflow.python", "tensorflow.lite.python", "tensorflow_datasets.core.download")


def sources() -> list[Path]:
    folders = ("zoo", "recipes", "tests", "benchmarks")
    return [ROOT / "cli.py", *sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))]


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLES


def own_names(tree: ast.AST) -> Iterator[str]:
    """The private names that a file makes: functions, classes, variables, and attributes that it sets on `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield from [node.attr] if isinstance(node.value, ast.Name) and node.value.id == "self" else []


def touches(tree: ast.AST, own: set[str]) -> Iterator[str]:
    """Private attributes that are nobody's here, `self` included, and imports of private modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            yield from {ast.unparse(node)} - DOCUMENTED
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in REFLECTION:
            name = getattr(node.args[1], "value", "")
            if isinstance(name, str) and private(name) and name not in own:
                yield ast.unparse(node)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(PRIVATE_MODULES))
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if name.startswith(PRIVATE_MODULES))


def test_only_two_files_touch_private_parts_of_other_packages():
    trees = {file: ast.parse(file.read_text("utf-8")) for file in sources()}
    of_project = {name for tree in trees.values() for name in own_names(tree)}
    found = []
    for file, tree in trees.items():
        name = file.relative_to(ROOT).as_posix()
        # What is installed keeps to the private names of its own file; tests and benchmarks may look into the project.
        own = of_project if name.startswith(("tests/", "benchmarks/")) else set(own_names(tree))
        if name not in KEPT:
            found += [f"{name}: {touch}" for touch in touches(tree, own)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "model._layers",
        "self._made_by_keras",
        "getattr(model, '_functional', None)",
        "import keras.src.models",
        "from tensorflow.python.framework import ops",
        "from keras import src\nfrom keras.src import backend",
    ],
)
def test_the_check_sees_a_touch(text):
    assert list(touches(ast.parse(text), {"_own"}))


def test_the_check_lets_own_names_be():
    text = "class A:\n    def __init__(self):\n        self._own = 1\ndef f(a):\n    return a._own, a.__class__"
    assert list(touches(ast.parse(text), set(own_names(ast.parse(text))))) == []


def test_tensorflow_datasets_takes_the_retries_that_it_is_given(monkeypatch):
    downloader = importlib.import_module("tensorflow_datasets.core.download.downloader")
    tries = []

    class Session(requests.Session):
        def get(self, url, **_):
            tries.append(self.get_adapter(url).max_retries.total)
            raise requests.ConnectionError(url)

    monkeypatch.setattr(requests, "Session", Session)
    try:
        usual = downloader.MAX_RETRIES
        with tfds_retries(3), pytest.raises(requests.ConnectionError), downloader._open_url("https://example.invalid"):
            pass
    except AttributeError as error:
        pytest.fail(f"tensorflow_datasets.core.download.downloader.MAX_RETRIES is gone or other: {error}")
    assert tries == [3], "tensorflow_datasets.core.download.downloader.MAX_RETRIES is not what a download takes"
    assert usual == downloader.MAX_RETRIES


def test_tensorflow_datasets_finds_classes_of_features_by_the_method_that_is_replaced(tmp_path, monkeypatch):
    from zoo.backend import tfds

    (tmp_path / "planted.py").write_text("raise SystemExit('was run')")
    monkeypatch.syspath_prepend(tmp_path)
    connector = tfds.features.FeatureConnector
    own = tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=2)})
    try:
        with own_features_only():
            assert connector.from_json(own.to_json()).keys() == own.keys()
            for described in ({"type": "planted.X", "content": {}}, {"pythonClassName": "planted.X"}):
                with pytest.raises(ValueError, match=r"planted\.X"):
                    connector.from_json(described)
        with pytest.raises(SystemExit):
            connector.from_json({"pythonClassName": "planted.X"})
    except AttributeError as error:
        pytest.fail(f"FeatureConnector.cls_from_name of TensorFlow Datasets is gone or other: {error}")


def test_optuna_writes_attributes_of_trials_that_others_drew():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    study.ask()
    (listed,) = study.get_trials()
    try:
        set_trial_attribute(study, listed, "ended", "stopped")
        set_trial_attribute(study, study.ask(), "ended", "later")
    except AttributeError as error:
        pytest.fail(f"Study._storage or FrozenTrial._trial_id of Optuna is gone or other: {error}")
    assert [trial.user_attrs for trial in study.get_trials()] == [{"ended": "stopped"}, {"ended": "later"}]
