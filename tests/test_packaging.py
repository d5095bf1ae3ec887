"""What `pip install` puts on a machine."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
