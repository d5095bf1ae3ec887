"""The command line as a user meets it: a process with arguments, an exit code, stdout and stderr."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import cli
import zoo
from zoo.errors import RequestError

WITHOUT_TENSORFLOW = [
    ["--help"],
    ["list"],
    ["list", "l*", "--json"],
    ["show", "lenet5"],
    ["show", "lenet"],
    ["recipes"],
    ["recipes", "digits"],
    ["fit", "lenet", "--data", "digits", "--out", "x"],
    ["fit", "lenet5", "--data", "digit", "--out", "x"],
    ["list", "--weights"],
    ["finetune", "lenet5", "--data", "digits", "--out", "x"],
    ["finetune", "efficientnet_lite0", "--data", "digit", "--out", "x"],
    ["embed", "nowhere.keras", "digits", "--out", "x.npz"],
    ["evaluate", "nowhere"],
    ["evaluate", "nowhere", "--data", "digit"],
    ["compare", "nowhere"],
    ["report", "nowhere"],
    ["export", "nowhere"],
    ["inspect", "nowhere.tflite"],
    ["benchmark", "nowhere.tflite"],
    ["predict", "nowhere.tflite", __file__],
]


@pytest.mark.parametrize("arguments", WITHOUT_TENSORFLOW, ids=" ".join)
def test_what_needs_no_model_does_not_load_tensorflow(arguments):
    program = f"import sys, cli\ncode = cli.main({arguments!r})\nassert 'tensorflow.python' not in sys.modules, code"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_line_loads_little_before_a_command_is_known():
    """Half a second is gone with NumPy, pydantic and Pillow; help and a mistyped name need none of them."""
    heavy = {"numpy", "pydantic", "PIL", "rich", "tomli_w", "sklearn", "matplotlib"}
    program = f"import sys, cli\nprint(sorted({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_the_check_for_tensorflow_can_fail():
    program = "import sys, zoo\nzoo.create_model('lenet5')\nassert 'tensorflow.python' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 1


def test_the_list_has_every_model_and_its_facts(zoo_command):
    code, out, _ = zoo_command("list", "--json")
    assert code == 0
    cards = {card["name"]: card for card in json.loads(out)}
    assert list(cards) == zoo.list_models()
    assert cards["lenet5"]["parameters"] == 61_706
    assert cards["lenet5"]["paper"]["year"] == 1998


def test_show_prints_one_card(zoo_command):
    code, out, _ = zoo_command("show", "lenet5")
    assert code == 0
    assert "61,706" in out
    assert "Gradient-based learning" in out
    assert json.loads(zoo_command("show", "lenet5", "--json")[1])["input_shape"] == [32, 32, 1]


def test_every_command_has_a_help_with_an_example():
    for name, command in every_command(cli.commands):
        help_text = CliRunner().invoke(command, ["--help"]).output
        assert f"Example: zoo {name}" in help_text, name


def every_command(group, prefix=""):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["fti"], 2, "did you mean 'fit'"),
        (["show", "lennet5"], 2, "did you mean 'lenet5'"),
        (["recipes", "digit"], 2, "did you mean 'digits'"),
        (["fit", "lenet5", "--out", "x"], 2, "--data"),
        (["fit", "lenet5", "--data", "digits", "--out", "x", "--epochs", "many"], 2, "'many'"),
        (["fit", "lenet5", "--data", "digits", "--out", __file__], 2, "is a file"),
        (["evaluate", "nowhere"], 2, "nowhere does not exist"),
        (["compare", "nowhere"], 2, "nowhere does not exist"),
        (["report", str(Path(__file__).parent)], 2, "is not a run"),
        (["predict", "nowhere.tflite", "nothing.png"], 2, "nothing.png does not exist"),
        (["predict", "nowhere.tflite", __file__], 2, "nowhere.tflite does not exist"),
        (["export", str(Path(__file__).parent)], 2, "is not a run"),
    ],
)
def test_an_error_is_one_line_on_stderr(zoo_command, arguments, code, message):
    received, out, err = zoo_command(*arguments)
    assert received == code
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("Error: ")
    assert message in err


def test_an_option_out_of_reach_names_the_nearest(zoo_command):
    _, _, err = zoo_command("list", "--jsn")
    assert "--json" in err
    assert err.count("\n") == 1


def test_a_word_that_is_not_among_an_options_names_the_nearest(zoo_command):
    """Over all commands; click alone prints what is allowed, and leaves it at that."""
    checked = 0
    for _, command in every_command(cli.commands):
        for option in command.params:
            if isinstance(option.type, click.Choice):
                with pytest.raises(RequestError) as error:
                    option.type.convert(f"{option.type.choices[0]}x", option, None)
                assert str(error.value).startswith(
                    f"unknown {option.opts[-1]} '{option.type.choices[0]}x': did you mean"
                )
                checked += 1
    assert checked > 8
    code, out, err = zoo_command("list", "--sort", "accurcy")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("Error: unknown --sort 'accurcy': did you mean 'accuracy'? Allowed: accuracy, arena, ")


def completed(*words):
    """What click tells bash of the last of these words: the kind of each proposal, and the proposal."""
    environment = os.environ | {"_ZOO_COMPLETE": "bash_complete", "COMP_CWORD": str(len(words))}
    done = subprocess.run(
        [sys.executable, "-m", "cli"],
        env=environment | {"COMP_WORDS": shlex.join(["zoo", *words])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        (["f"], ["plain,finetune", "plain,fit"]),
        (["fit", "lenet5_"], ["plain,lenet5_1998"]),
        (["fit", "lenet5", "--rec"], ["plain,--recipe"]),
        (["fit", "lenet5", "--recipe", "digits-s"], ["file,digits-s", "plain,digits-sprint"]),
        (["fit", "lenet5", "--data", "dig"], ["file,dig", "plain,digits"]),
        (["list", "--max-params", "many", "--sort", "ac"], ["plain,accuracy"]),
        (["recipes", "augment/ae"], ["file,augment/ae", "plain,augment/aerial"]),
        (["export", "runs/first", "--to", "c-array-"], ["plain,c-array-int16x8"]),
        (["fitt", "--v"], ["plain,--version"]),
    ],
)
def test_the_shell_completes_commands_options_and_names(words, proposed):
    assert completed(*words) == proposed


def test_all_names_that_are_completed_are_names_that_exist():
    """Without TensorFlow, or the shell would wait for it; that `Name` proposes what it should is seen above."""
    program = """
import sys, cli, click
from recipes.command_line import names
def every(command):
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from every(below)
for command in every(cli.commands):
    context = click.Context(command, resilient_parsing=True)
    for parameter in command.params:
        found = parameter.shell_complete(context, "")
        assert found or not isinstance(parameter.type, names.Name), (command.name, parameter.name)
assert "tensorflow.python" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_takes_what_click_prints_for_it(tmp_path):
    """As get-started.md says, in a real shell; `zoo` is this checkout's."""
    (tmp_path / "zoo").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli "$@"\n')
    (tmp_path / "zoo").chmod(0o755)
    script = """
eval "$(_ZOO_COMPLETE=bash_source zoo)"
COMP_WORDS=(zoo show lenet5_) COMP_CWORD=2 COMPREPLY=()
_zoo_completion zoo
echo "${COMPREPLY[@]}"
"""
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    root = str(Path(__file__).parents[1])
    done = subprocess.run(
        ["bash", "-c", script], env=os.environ | {"PATH": path, "PYTHONPATH": root}, capture_output=True, text=True
    )
    assert done.stdout == "lenet5_1998\n", done.stderr


@pytest.mark.slow
def test_the_main_job_from_digits_to_a_proven_file(zoo_command, forked_command, tmp_path, digit_image):
    run = tmp_path / "run"
    code, out, err = zoo_command("fit", "lenet5", "--data", "digits", "--out", run, "--recipe", "quick", "--epochs", 2)
    assert code == 0, err
    assert "accuracy" in out
    assert f"zoo export {run}" in out
    assert err.count("images/s") == 2  # a line an epoch, and nothing of TensorFlow's
    assert len(err.strip().splitlines()) == 2

    code, out, err = zoo_command("evaluate", run, "--json")
    assert (code, err) == (0, "")
    metrics = json.loads(out)
    assert {"accuracy", "loss", "top_k", "confusion_matrix", "class_names"} <= set(metrics)
    assert (run / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG")

    code, out, err = forked_command("report", run, "--json")
    assert (code, err) == (0, "")
    assert Path(json.loads(out)["file"]) == run / "report.html"

    code, out, err = forked_command("compare", run, "--json")
    assert (code, err) == (0, "")
    assert [row["accuracy"] for row in json.loads(out)] == [metrics["accuracy"]]

    code, out, err = zoo_command("export", run, "--to", "int8", "--json")
    assert (code, err) == (0, "")
    exported = json.loads(out)
    assert exported["bytes"] == Path(exported["file"]).stat().st_size

    code, out, err = zoo_command("predict", exported["file"], digit_image, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)[0]["guesses"][0]["name"] == "6"

    code, out, err = forked_command("export", run, "--to", "float32", "--budget", "agreement=2")
    assert code == 2
    assert err.count("\n") == 1


@pytest.mark.slow
def test_naming_inspecting_and_timing_with_a_file_do_not_load_tensorflow(digits_run, digit_image, tmp_path):
    from recipes.export.handover import export

    file = tmp_path / "digits.tflite"
    export(digits_run, to="float32", out=file)
    program = (
        "import sys, cli\n"
        f"assert cli.main(['predict', {str(file)!r}, {str(digit_image)!r}]) == 0\n"
        f"assert cli.main(['inspect', {str(file)!r}]) == 0\n"
        f"assert cli.main(['benchmark', {str(file)!r}, '--repeats', '5', '--threads', '1']) == 0\n"
        "assert 'tensorflow.python' not in sys.modules and 'keras.src' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "6" in done.stdout
