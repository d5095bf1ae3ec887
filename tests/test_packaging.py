"""What `pip install` puts on a machine."""

import ast
import re
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
    import shutil

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
    assert presets | {"recipes/report/page.html"} <= set(names)


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
