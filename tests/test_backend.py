"""The door to Keras: any order of imports works, and a user's settings of Keras change nothing and stay."""

import ast
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from zoo.backend import keras_as_shipped

ROOT = Path(__file__).parents[1]
OURS = [
    *("zoo", "zoo.heads", "zoo.layers", "zoo.weights"),
    *("recipes.data", "recipes.augment", "recipes.fit", "recipes.export.handover"),
]
EAGER = "recipes.augment.warp"  # compiles a function for TensorFlow where it is imported
THEIRS = ["keras", "tensorflow"]
USE = "import zoo, keras, tensorflow; zoo.create_model('lenet5'); keras.saving.get_registered_name(keras.Model)"


def python(program, *arguments, **environment):
    """Runs a program in a process of its own: (exit code, stdout, the last line of stderr)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KERAS_")}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=kept | {name: str(value) for name, value in environment.items()},
        cwd=ROOT,
    )
    return done.returncode, done.stdout, (done.stderr.strip().splitlines() or [""])[-1]


def in_order(names):
    code, _, error = python("\n".join(f"import {name}" for name in names) + f"\n{USE}")
    assert code == 0, f"{names}: {error}"


# None of OURS brings in Keras or TensorFlow (the next test), so all of them together have the place of each of them.
@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        *itertools.permutations(["ours", *THEIRS]),
        *itertools.permutations([EAGER, *THEIRS]),
        ("ours", EAGER),
        ("ours", "tensorflow"),
        ("tensorflow", "ours"),
        ("zoo.heads", "recipes.augment", "tensorflow", "keras"),
    ],
    ids=" ".join,
)
def test_any_order_of_imports_of_ours_and_theirs(names):
    in_order([each for name in names for each in (OURS if name == "ours" else [name])])


def test_what_stands_for_a_module_is_not_found_by_others():
    names = [*OURS, "zoo.models.lenet", "cli"]
    found = "{'keras', 'tensorflow', 'tensorflow_datasets'} & set(sys.modules)"
    program = "import sys\n" + "".join(f"import {name}\nassert not {found}, {name!r}\n" for name in names)
    code, _, error = python(program)
    assert code == 0, error


def test_keras_and_tensorflow_come_in_by_the_door_alone():
    """A file that imports them itself would load them as the user's settings say."""
    doors = {Path("zoo/backend.py"), Path("zoo/keras_internals.py"), Path("recipes/support/internals.py")}
    files = [
        Path("cli.py"),
        *(file.relative_to(ROOT) for room in ("zoo", "recipes") for file in (ROOT / room).rglob("*.py")),
    ]
    for file in set(files) - doors:
        for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"keras", "tensorflow", "tensorflow_datasets"}, file


# A training, an export of it, and what is left of the user's own settings.
TRAIN = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
for statement in sys.argv[2:]:
    exec(statement)
from recipes.fit import fit
from recipes.export.handover import export
from recipes.evaluate.scoring import evaluate
folder = Path(sys.argv[1])
fitted = fit("lenet5", data="digits", recipe="quick", overrides=["epochs=1"], out=folder / "run", quiet=True)
file = export(folder / "run", to="int8", out=folder / "lenet.tflite", force=True, budget={"agreement": 0.0}).file
metrics = evaluate(folder / "run")
import keras
users = [keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format()]
users += [keras.config.dtype_policy().name, keras.config.max_epochs(), keras.config.max_steps_per_epoch()]
weights = b"".join(w.tobytes() for w in keras.models.load_model(folder / "run" / "model.keras").get_weights())
digests = [hashlib.sha256(content).hexdigest() for content in (weights, Path(file).read_bytes())]
print(json.dumps([digests, metrics["accuracy"], users]))
"""
SHIPPED = ["float32", 1e-7, "channels_last", "float32", None, None]


@pytest.fixture(scope="module")
def trained_as_usual(once):
    """What the training comes to where the user has set nothing."""

    def make(folder):
        code, out, error = python(TRAIN, folder, HOME=folder / "home")
        assert code == 0, error
        (folder / "told.json").write_text(out)

    return json.loads((once("settings", make) / "told.json").read_text())


def home(folder, settings):
    (folder / ".keras").mkdir(parents=True)
    text = settings if isinstance(settings, str) else json.dumps(settings)
    (folder / ".keras" / "keras.json").write_text(text)
    return folder


ALL = {"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first", "backend": "jax"}
ONE_BY_ONE = [{name: value} for name, value in ALL.items()]
FILES = [ALL, *ONE_BY_ONE, {"backend": "torch"}, {"backend": "nonsense"}, "{", "[1", "", {"floatx": "float64"}]
NAMES = ("floatx", "epsilon", "image_data_format")


@pytest.mark.slow
@pytest.mark.parametrize("settings", FILES, ids=str)
def test_what_keras_json_says_is_put_aside_for_our_own_work_and_is_there_afterwards(settings, tmp_path):
    program = (
        "import json, zoo\n"
        "from zoo.backend import SETTINGS, keras, keras_as_shipped\n"
        "def settings():\n"
        "    values = {name: getattr(keras.config, name)() for name in SETTINGS}\n"
        "    return values | {'dtype_policy': values['dtype_policy'].name}\n"
        "zoo.create_model('lenet5')\n"
        "with keras_as_shipped(): ours = settings()\n"
        "print(json.dumps([ours, settings(), SETTINGS]))\n"
    )
    code, out, error = python(program, HOME=home(tmp_path / "home", settings))
    assert code == 0, error
    ours, users, shipped = json.loads(out)
    given = {} if isinstance(settings, str) else settings
    assert ours == shipped
    assert list(shipped.values()) == SHIPPED
    assert [users[name] for name in NAMES] == [given.get(name, shipped[name]) for name in NAMES]


@pytest.mark.parametrize("users", [True, False])
def test_float32_is_not_rounded_to_tensorfloat_in_our_own_work(users):
    import tensorflow as tf

    rounding = tf.config.experimental.tensor_float_32_execution_enabled
    before = rounding()
    try:
        tf.config.experimental.enable_tensor_float_32_execution(users)
        with keras_as_shipped(), keras_as_shipped():
            assert not rounding()
        assert rounding() == users
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@pytest.mark.slow
def test_a_run_and_an_export_are_the_same_whatever_keras_json_says(tmp_path, trained_as_usual):
    code, out, error = python(TRAIN, tmp_path, HOME=home(tmp_path / "home", ALL))
    assert code == 0, error
    told = json.loads(out)
    assert told[:2] == trained_as_usual[:2]
    assert told[2][:3] == [ALL[name] for name in NAMES]


@pytest.mark.slow
@pytest.mark.parametrize("first", ["keras", "tensorflow, keras", "zoo, keras"])
def test_settings_of_a_script_change_nothing_and_stay(first, tmp_path, trained_as_usual):
    statements = [
        f"import {first}; keras.config.set_image_data_format('channels_first'); keras.config.set_epsilon(0.1)",
        "keras.config.set_floatx('float16'); keras.config.set_dtype_policy('mixed_bfloat16')",
        "keras.config.set_max_epochs(1); keras.config.set_max_steps_per_epoch(1)",
    ]
    code, out, error = python(TRAIN, tmp_path, *statements)
    assert code == 0, error
    told = json.loads(out)
    assert told[:2] == trained_as_usual[:2]
    assert told[2] == ["float16", 0.1, "channels_first", "mixed_bfloat16", 1, 1]


@pytest.mark.slow
def test_a_model_is_built_the_same_under_other_settings(tmp_path):
    program = (
        "import hashlib, json, sys, zoo, keras\n"
        "def digest():\n"
        "    keras.utils.set_random_seed(0)\n"
        "    model = zoo.create_model('squeezenet1_1', input_shape=(64, 64, 3), classes=3)\n"
        "    arrays = b''.join(weight.tobytes() for weight in model.get_weights())\n"
        "    return hashlib.sha256(model.to_json().encode() + arrays).hexdigest()\n"
        "keras.backend.clear_session(); first = keras.config.image_data_format(), keras.config.floatx(), digest()\n"
        "print(json.dumps([first, keras.config.image_data_format(), keras.config.dtype_policy().name]))\n"
    )
    usual = json.loads(python(program, HOME=tmp_path)[1])
    others = {"floatx": "float16", "image_data_format": "channels_first"}
    code, out, error = python(program, HOME=home(tmp_path / "home", others))
    assert code == 0, error
    other = json.loads(out)
    assert other[0] == ["channels_first", "float16", usual[0][2]]
    assert other[1:] == ["channels_first", "float16"]  # the user's own, again


@pytest.mark.parametrize("name", ["jax", "torch", "openvino", "nonsense"])
def test_another_backend_in_the_environment_is_one_line(name, tmp_path):
    arguments = ["show", "lenet5", "--input-shape", "64x64x1"]
    code, out, error = python(f"import cli; raise SystemExit(cli.main({arguments}))", KERAS_BACKEND=name, HOME=tmp_path)
    assert (code, out) == (2, "")
    assert error.startswith(f"Error: KERAS_BACKEND={name} is not possible; convzoo needs tensorflow")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "tensorflow"])
def test_the_backend_that_is_needed_may_be_named(name, tmp_path):
    code, _, error = python("import zoo, os; zoo.create_model('lenet5')", KERAS_BACKEND=name, HOME=tmp_path)
    assert code == 0, error


@pytest.mark.parametrize(
    "settings", [{"floatx": "float8"}, {"epsilon": 1}, {"image_data_format": "any"}, [], "1"], ids=str
)
def test_a_keras_json_that_keras_cannot_take_is_named(settings, tmp_path):
    program = "import cli; raise SystemExit(cli.main(['show', 'lenet5', '--input-shape', '64x64x1']))"
    code, _, error = python(program, HOME=home(tmp_path, settings))
    assert code == 2
    assert error.startswith("Error: ")
    assert str(tmp_path / ".keras" / "keras.json") in error


def test_keras_with_another_backend_in_the_same_process_is_one_line():
    """Stands in for a script that imported Keras on JAX, which is not installed here."""
    program = (
        "import sys, types, zoo\n"
        "sys.modules['keras'] = keras = types.ModuleType('keras')\n"
        "keras.config = types.SimpleNamespace(backend=lambda: 'jax')\n"
        "from zoo.backend import import_keras\n"
        "from zoo.errors import RequestError\n"
        "try: import_keras()\n"
        "except RequestError as error: print(error)\n"
    )
    code, out, error = python(program)
    assert code == 0, error
    assert "backend jax" in out
    assert "KERAS_BACKEND=tensorflow" in out
