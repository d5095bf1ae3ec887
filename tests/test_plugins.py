"""Models that are not the zoo's own: of files that the user names, and of packages that are installed."""

import json
import os
import subprocess
import sys

import forked
import numpy as np
import pytest

PLUGIN = '''\
"""A model with a layer of its own."""

from __future__ import annotations

from typing import Literal

import keras

import zoo


@keras.saving.register_keras_serializable(package="mine")
class Twice(keras.layers.Layer):
    """x + x."""

    def call(self, x):
        return x + x


@zoo.register(input_shape=(28, 28, 1), pooling="average")
def twice_net(x, *, filters: int = 8, nonlinearity: Literal["relu", "tanh"] = "relu"):
    """One convolution and its normalisation, twice."""
    x = keras.layers.Conv2D(filters, 5, strides=4, activation=nonlinearity, name="conv")(x)
    x = keras.layers.BatchNormalization(momentum=0.9, name="norm")(x)
    return Twice(name="twice")(x)
'''
LIGHT = """\
import zoo

@zoo.register(input_shape=(8, 8, 1), scaling=zoo.Scaling(1 / 255))
def light_net(x, *, width=1.0):
    "Nothing at all."
    return x
"""
FIT = ("--data", "digits", "--recipe", "quick", "--set", "optimizer.learning_rate=1e-2")


def zoo_commands(*commands, environment=None, program="", timeout=900):
    """Runs command lines one after the other in one process: the exit codes, what was printed, the errors."""
    code = f"import cli\nprint('codes', [cli.main(command) for command in {[list(map(str, c)) for c in commands]}])"
    environment = {**os.environ, **(environment or {})}
    if program:  # what is loaded when: in an interpreter that has loaded nothing
        command = [sys.executable, "-c", program + code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
    else:
        done = forked.run(code, env=environment, timeout=timeout)
    assert done.stdout, done.stderr
    *printed, codes = done.stdout.splitlines()
    return json.loads(codes.removeprefix("codes ")), "\n".join(printed), done.stderr


def refusal(*command, **settings):
    """The one line of a command that cannot be done."""
    codes, printed, errors = zoo_commands(command, **settings)
    assert (codes, printed, errors.count("\n")) == ([2], "", 1)
    return errors.removeprefix("Error: ").rstrip("\n")


def file_with(path, text):
    path.write_text(text)
    return path


# ---- what a plugin cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print(", "{file}:1: '(' was never closed."),
        ("hello = 1", "{file}: it does not import `zoo`, so it registers no model."),
        ("import zoo", "{file} registers no model: put `@zoo.register(...)` above an architecture."),
        ("import zoo\n\n1 / 0", "{file}:3: ZeroDivisionError: division by zero"),
        ("import zoo\nimport nowhere", "{file}:2: ModuleNotFoundError: No module named 'nowhere'"),
        (
            LIGHT.replace("light_net", "lenet5"),
            "{file}:3: model 'lenet5' is registered twice: it is in the zoo",
        ),
        (LIGHT.replace('"Nothing at all."', "pass"), "{file}:3: model 'light_net' needs a docstring"),
        (LIGHT.replace("(8, 8, 1)", "(8, 8)"), "{file}:3: input_shape=(8, 8) of light_net is not possible"),
        (LIGHT.replace("=1.0", ""), "{file}:3: option width of light_net needs a default."),
        ("import zoo\nraise SystemExit(3)", "{file}:2: SystemExit: 3"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_one_error_with_its_line(tmp_path, text, expected):
    import zoo
    from zoo.errors import RequestError

    file, before = file_with(tmp_path / "mine.py", text), zoo.list_models()
    with pytest.raises(RequestError) as caught:
        zoo.load_plugin(file)
    assert str(caught.value).startswith(expected.format(file=file))
    assert zoo.list_models() == before
    assert not [name for name in sys.modules if name.startswith("zoo_plugin")]


def test_what_was_registered_before_a_fault_does_not_stay(tmp_path):
    import zoo
    from zoo.errors import RequestError

    with pytest.raises(RequestError, match="ZeroDivisionError"):
        zoo.load_plugin(file_with(tmp_path / "mine.py", f"{LIGHT}\n1 / 0\n"))
    assert "light_net" not in zoo.list_models()


def test_at_the_command_line_it_is_one_line_and_code_2(tmp_path):
    broken = file_with(tmp_path / "broken.py", "import zoo\n1 / 0")
    assert refusal("--plugin", broken, "list") == f"{broken}:2: ZeroDivisionError: division by zero"
    gone = tmp_path / "gone.py"
    assert refusal("list", environment={"ZOO_PLUGINS": str(gone)}) == f"{gone} does not exist."


@pytest.mark.slow
def test_a_fault_in_an_architecture_names_its_line(tmp_path):
    file = file_with(tmp_path / "mine.py", LIGHT.replace("return x", "return nothing"))
    assert refusal("--plugin", file, "show", "light_net") == (
        "light_net cannot be built for images of 8x8x1 with pooling 'average': "
        f"NameError: name 'nothing' is not defined ({file}:6)"
    )


# ---- what is known of it -------------------------------------------------------------------------------------------


def test_listing_it_imports_no_keras_and_shows_what_is_not_known_as_a_question_mark(tmp_path):
    one, other = file_with(tmp_path / "one.py", LIGHT), tmp_path / "other.py"
    file_with(other, LIGHT.replace("light_net", "other_net"))
    program = "import atexit, sys\natexit.register(lambda: print('keras.src' in sys.modules, file=sys.stderr))\n"
    commands = ["--plugin", one, "list", "*_net"], ["--plugin", one, "list", "light*", "--json"]  # twice is once
    codes, printed, errors = zoo_commands(*commands, environment={"ZOO_PLUGINS": str(other)}, program=program)
    assert (codes, errors) == ([0, 0], "False\n")
    text, _, listed = printed.partition("[")
    assert [line.split()[:4] for line in text.splitlines()[1:]] == [
        ["light_net", "8x8x1", "?", "?"],
        ["other_net", "8x8x1", "?", "?"],
    ]
    (card,) = json.loads(f"[{listed}")
    assert (card["parameters"], card["macs"], card["paper"], card["measured"]) == (None, None, None, [])
    assert card["plugin"]["path"] == str(one)
    assert card["options"] == {"width": {"default": 1.0, "allowed": "float"}}


@pytest.mark.slow
def test_costs_are_measured_where_they_decide_and_are_shown_as_measured(tmp_path):
    file = file_with(tmp_path / "mine.py", PLUGIN)
    listing = ["list", "twice*", "--max-params", "400", "--max-macs", "100k", "--sort", "macs"]
    codes, printed, errors = zoo_commands(["--plugin", file, *listing], ["show", "twice_net"])
    assert (codes, errors) == ([0, 0], "")
    # 25 x 8 + 8 in the convolution, 4 x 8 in the normalisation, 90 in the head; 36 x 200 + 80 multiply-adds
    assert printed.splitlines()[1].split()[:4] == ["twice_net", "28x28x1", "330", "7.28k"]
    assert "parameters           330, of them trained 314, measured" in printed
    assert f"plugin               {file}" in printed


def test_cards_of_the_zoo_state_every_fact():
    import zoo

    for card in map(zoo.get_card, zoo.list_models()):
        assert card.plugin or None not in (card.paper, card.parameters, card.trainable_parameters), card.name
        assert card.measured == ()


# ---- what is done with it ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A plugin, and a run of its model after an epoch."""
    folder = tmp_path_factory.mktemp("plugin")
    file, run = file_with(folder / "mine.py", PLUGIN), folder / "run"
    fit = ["fit", "twice_net", *FIT, "--epochs", 1, "--out", run, "--quiet"]
    codes, _, errors = zoo_commands(["--plugin", file, *fit])
    assert (codes, errors) == ([0], "")
    return file, run


@pytest.mark.slow
def test_a_run_remembers_its_plugin(trained):
    import hashlib
    import tomllib

    file, run = trained
    recipe = tomllib.loads((run / "recipe.toml").read_text())
    assert recipe["plugin"] == {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


@pytest.mark.slow
def test_later_commands_load_it_by_themselves(trained, tmp_path, digit_image):
    _, run = trained
    out = tmp_path / "mine.tflite"
    codes, printed, errors = zoo_commands(
        ["evaluate", run, "--json"],
        ["export", run, "--to", "float32", "--out", out, "--force", "--json"],
        ["predict", run, digit_image],
        ["compare", run],
        ["report", run],
        ["embed", run, "digits", "--out", tmp_path / "features.npz", "--quiet"],
        ["fit", run / "recipe.toml", "--data", "digits", "--epochs", 1, "--out", tmp_path / "again", "--quiet"],
    )
    assert codes == [0] * 7, errors
    assert errors == ""
    assert "twice_net" in printed
    assert np.load(tmp_path / "features.npz")["features"].shape == (5000, 8)


@pytest.mark.slow
def test_another_digest_is_refused_and_a_moved_file_is_found_where_it_is_named(trained, tmp_path):
    file, run = trained
    needs = f"{run} needs the plugin {file} (sha256 "
    moved = tmp_path / "elsewhere.py"
    file.rename(moved)
    try:
        gone = refusal("evaluate", run)
        assert gone.startswith(needs)
        assert gone.endswith("which does not exist: name a file with this digest: `zoo --plugin FILE.py COMMAND`.")
        file_with(file, PLUGIN + "# another\n")
        changed = refusal("report", run)
        assert changed.startswith(needs)
        assert "which has changed (now " in changed
        assert "zoo --plugin FILE.py COMMAND" in changed
        codes, _, errors = zoo_commands(["--plugin", moved, "evaluate", run])
        assert (codes, errors) == ([0], "")
    finally:
        moved.replace(file)


@pytest.mark.slow
def test_an_interrupted_training_goes_on_to_the_same_bits(trained, tmp_path):
    file, _ = trained
    stop = (
        "import recipes.training.loop as loop\nfrom recipes.training import checkpoint\n"
        "loop.CHECKPOINT_SECONDS, save = 0, checkpoint.save\n"
        "def stopped(state, path):\n    save(state, path)\n    raise SystemExit(9)\n"
    )
    fit = ["--plugin", file, "fit", "twice_net", *FIT, "--epochs", 3, "--quiet", "--out"]
    program = f"{stop}checkpoint.save = stopped\nimport cli\ncli.main({[*map(str, fit), str(tmp_path / 'stopped')]})"
    assert forked.run(program).returncode == 9
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    # Compared in that process: opening a run here would register its model for all tests after this one.
    codes, _, errors = zoo_commands(
        ["resume", tmp_path / "stopped", "--quiet"],
        [*fit, tmp_path / "whole"],
        ["compare", tmp_path / "stopped", tmp_path / "whole"],
    )
    assert (codes, errors) == ([0, 0, 0], "")
    for name in ("history.csv", "metrics.json", "recipe.toml"):
        assert (tmp_path / "stopped" / name).read_text() == (tmp_path / "whole" / name).read_text()


@pytest.mark.slow
def test_workers_of_a_search_and_folds_and_a_fine_tuning_know_it(trained, tmp_path):
    file, run = trained
    short = [*FIT, "--set", "epochs=1", "--folds", 2, "--quiet"]
    codes, _, errors = zoo_commands(
        ["--plugin", file, "tune", "twice_net", *short, "--trials", 2, "--workers", 2, "--out", tmp_path / "study"],
        ["cross-validate", "twice_net", *short],
        # Its backbone is one stage, which the recipe for so many images would train the last of.
        [
            "finetune",
            run,
            "--data",
            "digits",
            "--recipe",
            "head",
            "--set",
            "epochs=1",
            "--out",
            tmp_path / "tuned",
            "--quiet",
        ],
    )
    assert (codes, errors) == ([0, 0, 0], "")
    codes, _, errors = zoo_commands(
        ["evaluate", tmp_path / "tuned"],
        ["fit", tmp_path / "study" / "best.toml", *FIT[:2], "--out", tmp_path / "best", "--quiet"],
    )
    assert (codes, errors) == ([0, 0], "")


# ---- packages ------------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path):
    """Makes an installed package with an entry point; gives the environment that finds it."""

    def install(text, version="1.2"):
        info = tmp_path / "my_nets.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: my-nets\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[convzoo.models]\nmine = my_nets.models\n")
        (tmp_path / "my_nets").mkdir(exist_ok=True)
        (tmp_path / "my_nets" / "__init__.py").touch()
        file = file_with(tmp_path / "my_nets" / "models.py", text)
        return file, {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    return install


def test_models_of_an_installed_package_are_known(package):
    _, environment = package(LIGHT)
    codes, printed, errors = zoo_commands(["list", "light*", "--json"], environment=environment)
    assert (codes, errors) == ([0], "")
    assert json.loads(printed)[0]["plugin"] == {"distribution": "my-nets", "version": "1.2"}
    file, environment = package("import zoo\nzoo.nothing()")
    assert refusal("list", environment=environment).startswith(f"{file}:2: AttributeError: ")


@pytest.mark.slow
def test_a_run_remembers_the_version_of_its_package(package, tmp_path):
    _, environment = package(PLUGIN)
    fit = ["fit", "twice_net", *FIT, "--epochs", 1, "--out", tmp_path / "run", "--quiet"]
    codes, _, errors = zoo_commands(fit, environment=environment)
    assert (codes, errors) == ([0], "")
    codes, _, errors = zoo_commands(["evaluate", tmp_path / "run"], environment=environment)
    assert (codes, errors) == ([0], "")
    _, environment = package(PLUGIN, version="1.3")
    refused = refusal("evaluate", tmp_path / "run", environment=environment)
    assert refused.startswith(f"{tmp_path / 'run'} needs the package my-nets 1.2, but 1.3 is installed;")
    refused = refusal("evaluate", tmp_path / "run")
    assert refused.startswith(f"{tmp_path / 'run'} needs the package my-nets 1.2, but it is not installed;")
