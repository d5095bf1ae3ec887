"""What README.md and docs/ print is run, at small size: each page in a folder and a process of its own, in its order.

What is added to a command only makes it smaller: click takes the last of an option that is given twice.
`PYTHONPATH=. python tests/test_snippets_run.py` counts what there is, and what of it is run.
"""

import json
import os
import re
import shlex
import shutil

import click
import forked
import numpy as np
import pytest
from images import digit_folders, save
from PIL import Image
from test_snippets import FENCE, MENTIONED, PAGES, ROOT, blocks, commands, commands_of, parse

SMALLER = {
    "fit": "--set epochs=1 --overwrite",
    "finetune": "--set epochs=1 --set finetune.epochs=1 --overwrite",
    "tune": "--folds 1 --trials 1 --trial-epochs 1 --set epochs=1",
    "cross-validate": "--folds 2 --set epochs=1",
    "export": "--force",  # a model of one epoch hardly beats chance
    "benchmark": "--repeats 2",
    "preview": "--rows 1 --columns 1",
}
SMALLER_HERE = {
    "efficientnet_lite0": "--input-shape 64x64x3",
    "zoo export runs/mine": "--budget agreement=0 --budget drop=1",
    "zoo export runs/photos": "--budget agreement=0 --budget drop=1",
    "zoo export best.keras": "--budget agreement=0 --budget drop=1",
}
SMALLER_CODE = {
    'out="runs/python")': 'out="runs/python", overrides=["epochs=1"])',
    "epochs=3": "epochs=1",
    'load("photos/", image_shape=(224, 224, 3))': 'load("photos/", image_shape=(32, 32, 3))',
}
FITTED = ["fit", "vgg_small", "--data", "photos/", "--out", "runs/photos", "--set", "epochs=1", "--quiet"]
BEFORE = {
    "docs/demo.md": [("zoo", ["export", "runs/first", "--to", "int8"])],
    "docs/evaluation.md": [("zoo", ["export", "runs/first", "--force"])],
    "docs/deploy.md": [("python", "import os; os.mkdir('serving')")],
    "docs/export.md": [
        ("zoo", FITTED),
        ("python", "import shutil; shutil.copy('runs/photos/model.keras', 'best.keras')"),
    ],
}
NOT_RUN = {
    "docs/scaling.md": "several machines, a cluster; tests/test_workers.py trains with two processes",
    "docs/extending.md": "run by tests/test_extending.py",
    "docs/api.md": "names of commands only",
    "docs/architecture.md": "names of commands only",
    "docs/CONTRIBUTING.md": "the tests themselves",
    "docs/files.md": "names of commands only",
    "docs/index.md": "the commands of README.md",
    "docs/models.md": "no commands but its own",
    "docs/recipes.md": "benchmarks, hours",
    "docs/settings.md": "names of commands only",
}
PLACEHOLDER = re.compile(r"\b(NAME|RUN|MODEL|FILE|IMAGE|TABLE|COMMAND|SOURCE)\b")

CHILD = """
import json, sys, traceback
import cli

for kind, what in json.loads(open(sys.argv[1]).read()):
    print("::", what, file=sys.stderr, flush=True)
    if kind == "python":
        exec(compile(what, "snippet", "exec"), {"__name__": "__main__"})
    elif cli.main(what) != (2 if what[0] == "resume" else 0):  # finished runs are refused; test_resume.py resumes
        sys.exit(f"failed: {what}")
"""


def steps(page):
    """(kind, words or code) of what a page prints, in its order, after what it takes for granted."""
    yield from BEFORE.get(page, ())
    text, *rest = FENCE.split(PAGES[page])
    yield from small_commands(text)
    for language, block, text in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        if language == "python" and "register(" not in block:  # a model is in a file of its own
            for printed, smaller in SMALLER_CODE.items():
                block = block.replace(printed, smaller)
            yield "python", block
        yield from small_commands(f"```{language}\n{block}```")
        yield from small_commands(text)


def small_commands(text):
    for words in commands_of(text):
        line = shlex.join(words)
        if words[0] != "zoo" or is_named(words):
            continue
        added = next((more for name, more in SMALLER.items() if name in words[1:4]), "")
        if "--show" in words:
            added = ""
        added += "".join(f" {more}" for part, more in SMALLER_HERE.items() if part in line)
        if "--serve" in words:  # which goes on until it is stopped; tests/test_demo.py serves, with npm's runtime
            words = [word for word in words if word != "--serve"]
            if "--runtime" in words:
                at = words.index("--runtime")
                words = words[:at] + words[at + 2 :]
        yield "zoo", [*(name for word in words[1:] for name in expanded(word)), *added.split()]


def is_named(words):
    """Whether a command is only named: it has a placeholder, or no arguments and needs some."""
    line, words = shlex.join(words), words[1:]
    if line in MENTIONED or PLACEHOLDER.search(line):
        return True
    try:
        parse(words)
    except click.ClickException:
        return True
    return (len(words) == 1 and words != ["recipes"]) or words == ["data", "check"]


def expanded(word):
    return ["runs/first", "runs/mine"] if word == "runs/*" else [word]


@pytest.fixture
def workspace(tmp_path, digits_run):
    """What the pages take for granted: images, a run, a plugin."""
    random = np.random.default_rng(0)
    for folder, names in {"photos": ("cat", "dog"), "new-photos": ("owl",)}.items():
        for shade, name in enumerate(names):
            for number in range(30):
                pixels = random.integers(0, 80, (36 + number % 3, 40, 3), np.uint8) + np.uint8(120 * shade)
                save(Image.fromarray(pixels), tmp_path / folder / name / f"{number}.png")
    digit_folders(tmp_path / "field-photos", "0123", 5)
    for name in ("image.png", "three.png"):
        shutil.copy(tmp_path / "field-photos" / "3" / "0.png", tmp_path / name)
    for name in ("first", "mine", "other"):
        shutil.copytree(digits_run.path, tmp_path / "runs" / name)
    plugin = next(block for _, block in FENCE.findall(PAGES["docs/adding-a-model.md"]) if "@zoo.register" in block)
    (tmp_path / "mine.py").write_text(plugin, "utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page not in NOT_RUN and list(steps(page))])
def test_what_a_page_prints_can_be_done(page, workspace):
    (workspace / "steps.json").write_text(json.dumps(list(steps(page))), "utf-8")
    done = forked.run(CHILD, "steps.json", cwd=workspace, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]


def counted():
    """By kind: how many README.md and docs/ print, how many of them a test runs, and how the others are looked at."""
    typed = [(page, words) for page in PAGES for words in commands(page)]
    zoo = [page for page, words in typed if words[0] == "zoo" and not is_named(words)]
    python = [page for page in PAGES for _ in blocks(page, {"python"})]
    scripts = [words[1] for _, words in typed if words[0] == "python" and words[1].endswith(".py")]
    elsewhere = {"docs/extending.md", "docs/index.md"}  # test_extending.py; the same as in README.md
    run = {page for page in PAGES if page not in NOT_RUN} | elsewhere
    lessons = [script for script in scripts if script.startswith("docs/learn/")]
    return {
        "commands of zoo": (len(zoo), sum(page in run for page in zoo), "parsed"),
        "blocks of Python": (len(python), sum(page in run for page in python), "compiled"),
        "scripts of lessons": (len(lessons), len(lessons), ""),  # test_learn.py
        "other scripts": (len(scripts) - len(lessons), 0, "there, with these options"),
    }


def test_most_of_what_is_printed_is_run():
    (commands_there, commands_run, _), (blocks_there, blocks_run, _), *_ = counted().values()
    assert commands_run >= 0.9 * commands_there
    assert blocks_run >= 0.9 * blocks_there


if __name__ == "__main__":
    for kind, (there, run, otherwise) in counted().items():
        print(f"{kind}: {run} of {there} run" + (f", the others {otherwise}" if there > run else ""))
