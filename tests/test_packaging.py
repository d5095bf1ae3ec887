"""What `pip install` puts on a machine."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


# Where a package is not imported under the name that it is installed by.
PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}
OWN = {"zoo", "recipes", "cli"}


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def declared():
    """The packages that pyproject.toml names, in its dependencies or an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    lines = [*project["dependencies"], *(line for extra, lines in extras if extra != "test" for line in lines)]
    return {normalized(re.match(r"[\w.-]+", line)[0]) for line in lines}


def imported(text):
    """The top names of what a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"LazyModule", "importlib.import_module"}:
            yield from [str(node.args[0].value).split(".")[0]] if isinstance(node.args[0], ast.Constant) else []


def test_every_package_that_is_imported_is_declared():
    missing = {}
    for file in [ROOT / "cli.py", *(ROOT / "zoo").rglob("*.py"), *(ROOT / "recipes").rglob("*.py")]:
        for name in set(imported(file.read_text("utf-8"))) - sys.stdlib_module_names - OWN:
            if normalized(PACKAGES.get(name, name)) not in declared():
                missing.setdefault(name, []).append(str(file.relative_to(ROOT)))
    assert missing == {}


def test_the_scan_sees_imports_wherever_they_are():
    text = "def f():\n    import a.b\n    from c.d import e\ng = LazyModule('h')\nfrom . import i"
    assert set(imported(text)) == {"a", "c", "h"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the tree so that the tree stays clean."""
    tree, folder = tmp_path_factory.mktemp("tree") / "convzoo", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", "*.egg-info", "build", "runs", ".*_cache"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(tree)]
    subprocess.run(command, check=True, capture_output=True)
    (file,) = folder.glob("convzoo-*.whl")
    return file


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_their_data_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"cli.py", "zoo", "recipes"}
    presets = {str(file.relative_to(ROOT)) for file in (ROOT / "recipes" / "presets").rglob("*.toml")}
    assert len(presets) >= 4
    assert presets | {"recipes/report/page.html", "recipes/report/labels.html", "recipes/report/colours.css"} <= set(
        names
    )


@pytest.mark.slow
def test_an_installed_wheel_works_away_from_the_tree(wheel, tmp_path):
    installed = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(installed), str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    program = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import cli, zoo, recipes.config.presets as preset\n"
        f"assert all(m.__file__.startswith({str(installed)!r}) for m in (cli, zoo, preset))\n"
        "assert cli.main(['list']) == 0 and cli.main(['recipes', 'digits']) == 0\n"
        "assert zoo.create_model('lenet5').count_params() == 61706"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_small_set_is_a_part_of_the_dependencies():
    content = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    dependencies = {re.sub(r"\s", "", line) for line in content["project"]["dependencies"]}
    assert {re.sub(r"\s", "", line) for line in content["dependency-groups"]["files"]} <= dependencies


@pytest.mark.slow
def test_the_small_set_is_enough_for_files(wheel, int8_file, digit_image, tmp_path):
    bare = tmp_path / "bare"
    group = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]["files"]
    subprocess.run([sys.executable, "-m", "venv", bare], check=True)
    python = bare / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    for packages in (["--no-deps", str(wheel)], group):
        subprocess.run([python, "-I", "-m", "pip", "install", "-q", *packages], check=True, capture_output=True)
    assert subprocess.run([python, "-c", "import tensorflow"], capture_output=True).returncode

    def zoo(*arguments):
        command = [python, "-I", "-m", "cli", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    for arguments in (
        ["predict", int8_file, digit_image, "--json"],
        ["inspect", int8_file],
        ["benchmark", int8_file, "--repeats", "2"],
        ["list", "--max-params", "1M"],
        ["show", "lenet5"],
        ["recipes", "digits"],
    ):
        code, out, error = zoo(*arguments)
        assert code == 0, (arguments, error)
        if "--json" in arguments:
            assert json.loads(out)[0]["guesses"][0]["name"] == "6"
    (tmp_path / "photos" / "six").mkdir(parents=True)
    shutil.copy(digit_image, tmp_path / "photos" / "six")
    lacking = [
        ["fit", "lenet5", "--data", "digits", "--out", "run"],
        ["show", "lenet5", "--input-shape", "28x28x1"],
        ["tune", "lenet5", "--data", "digits", "--out", "study"],
        ["data", "check", "digits"],
        ["embed", "efficientnet_lite0", "photos", "--out", "features.npz"],
    ]
    for arguments in lacking:
        code, _, error = zoo(*arguments)
        assert code == 2, (arguments, error)
        assert re.fullmatch(r"Error: this needs \w+, which is not installed: pip install convzoo\n", error), arguments
