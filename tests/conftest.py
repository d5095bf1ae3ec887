"""What every test runs under.

The tests run in several processes, see `addopts` in pyproject.toml. What is costly is made by the first process that
asks for it, in a folder that all of them know.
"""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import forked
import pytest
from filelock import FileLock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
WORKER = os.environ.get("PYTEST_XDIST_WORKER")  # the name of this process among those that run the tests
if WORKER:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # the processes share the cores

# Prepared data and caches go to a folder of the test session, never to the user's own. Set here and not in a fixture,
# because TensorFlow Datasets reads its variable when it is imported, which collecting the tests may do. Prepared data
# are shared by the processes, which inherit the variable; each has a cache of its own.
if not WORKER:
    _FOLDER = tempfile.TemporaryDirectory(prefix="convzoo-tests-")
    os.environ["TFDS_DATA_DIR"] = str(Path(_FOLDER.name, "tensorflow_datasets"))
os.environ["CONVZOO_CACHE"] = str(Path(os.environ["TFDS_DATA_DIR"]).with_name(f"cache-{WORKER}"))


LONGEST = ("test_tune", "test_workers", "test_snippets_run", "test_resume")  # first: none is left alone at the end


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_unconfigure():
    if not WORKER:
        _FOLDER.cleanup()


@pytest.fixture(autouse=True)
def nothing_stays_registered():
    """Models that a test leaves in the register fail the test that left them, not one that counts models later."""
    before = models_from_elsewhere()
    yield
    assert models_from_elsewhere() == before, "registered by this test and left there, or taken away by it"


@pytest.fixture
def monkeypatch(monkeypatch):
    """As pytest's, but a module that a test is the first to import must not keep what stood in for something else.

    It would keep that for all tests behind it: `from module import name` copies what the name means then.
    """
    there, put, given = set(sys.modules), monkeypatch.setattr, []

    def recorded(target, *rest, **options):
        if callable(rest[-1]):
            place = target if isinstance(target, str) else f"{getattr(target, '__name__', '')}.{rest[0]}"
            given.append((place, rest[-1]))
        put(target, *rest, **options)

    monkeypatch.setattr = recorded
    yield monkeypatch
    kept = [
        f"{module}.{name}"
        for module in set(sys.modules) - there
        if module.split(".")[0] in ("cli", "recipes", "zoo")
        for name, value in list(vars(sys.modules[module]).items())
        if any(value is one and place != f"{module}.{name}" for place, one in given)
    ]
    assert kept == [], "imported while it was patched: patch what the class or the module looks up when it is called"


def models_from_elsewhere():
    """Names of the registered models that are not of `zoo/models/`; a register that nobody has imported has none."""
    cards = sys.modules["zoo.registry"]._CARDS if "zoo.registry" in sys.modules else {}
    return {name for name, card in cards.items() if not card.build.__module__.startswith("zoo.models.")}


@pytest.fixture(scope="session")
def prepared_data_folder():
    """Where TensorFlow Datasets prepares its sets during the tests."""
    folder = Path(os.environ["TFDS_DATA_DIR"])
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def interrupted(monkeypatch):
    """`with interrupted(n):` the training in the block is interrupted from the keyboard as its epoch n begins, of all
    its phases together, and must say so."""

    @contextlib.contextmanager
    def stopped_in(epoch):
        from recipes.training import loop
        from zoo.errors import FailureError

        reseed, calls = loop.reseed, []

        def stop(*arguments):
            calls.append(arguments)
            if len(calls) == epoch:
                raise KeyboardInterrupt
            reseed(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(loop, "reseed", stop)
            with pytest.raises(FailureError, match="interrupted"):
                yield

    return stopped_in


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """`once(name, make)`: the folder that `make(folder)` fills, once for all processes of the session."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if WORKER else base) / "shared"
    shared.mkdir(exist_ok=True)

    def made(name, make):
        folder = shared / name
        with FileLock(f"{folder}.lock"):
            if not (shared / f"{name}.done").exists():
                folder.mkdir(exist_ok=True)
                make(folder)
                (shared / f"{name}.done").touch()
        return folder

    return made


@pytest.fixture(scope="session")
def trained(once, tmp_path_factory, prepared_data_folder):
    """`trained(model, *settings, data=...)`: a run of recipe `quick`, trained once for all processes of the session.

    Each process has a copy of its own. Its tests share that: they read it, and copy it before they change it.
    """
    from recipes.fit import fit
    from recipes.run.folder import Run

    runs = {}

    def run_of(model, *settings, data="digits"):
        asked = (model, str(data), settings)
        if asked not in runs:
            name = f"{model}-{hashlib.sha256(repr(asked).encode()).hexdigest()[:12]}"
            given = {"data": str(data), "recipe": "quick", "overrides": settings, "overwrite": True, "quiet": True}
            folder = once(name, lambda out: fit(model, out=out, **given))
            runs[asked] = Run.open(shutil.copytree(folder, tmp_path_factory.mktemp("runs") / model))
        return runs[asked]

    return run_of


@pytest.fixture(scope="session")
def digits_run(trained):
    """A real run: LeNet-5 after three epochs on the embedded digits. Tests read it and do not change it."""
    return trained("lenet5", "epochs=3")


@pytest.fixture(scope="session")
def int8_file(once, digits_run):
    """`digits_run` as an int8 `.tflite` file. Tests read it and do not change it."""
    from recipes.export.handover import export

    given = {"to": "int8", "author": "A. Turing", "license": "MIT"}
    folder = once("int8", lambda folder: export(digits_run, out=folder / "digits.tflite", **given))
    return folder / "digits.tflite"


@pytest.fixture(scope="session")
def board(once, digits_run):
    """`digits_run` as a C array called `digits`: its folder, and what was measured. Tests do not change it."""
    import json

    from recipes.export.handover import export

    def make(folder):
        result = export(digits_run, to="c-array", out=folder / "digits.cc")
        (folder / "result.json").write_text(json.dumps(result.to_dict()))

    folder = once("c-array", make)
    return folder, json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="session")
def digit_image(tmp_path_factory):
    """A PNG of a handwritten 6 that is in the embedded set, 28x28, grey."""
    from PIL import Image

    from recipes.data.readers.digits import read_digits

    images, labels = read_digits()
    file = tmp_path_factory.mktemp("images") / "six.png"
    Image.fromarray(images[labels == 6][0, :, :, 0]).save(file)
    return file


@pytest.fixture
def no_room():
    """A block in which the system refuses to write files beyond so many bytes, as a full disk would."""
    import contextlib
    import resource

    @contextlib.contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited


@pytest.fixture
def zoo_command():
    """Runs the command line as a process: arguments in, (exit code, stdout, stderr) out."""
    import subprocess
    import sys

    def run(*arguments, timeout=300):
        done = subprocess.run(
            [sys.executable, "-m", "cli", *map(str, arguments)], capture_output=True, text=True, timeout=timeout
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def forked_command():
    """As `zoo_command`, for what loads TensorFlow and is not asked how, see forked.py."""

    def run(*arguments, timeout=300):
        done = forked.run("import sys, cli; sys.exit(cli.main(sys.argv[1:]))", *arguments, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="session")
def fuzz():
    """`benchmarks/fuzz.py` as a module."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).parents[1] / "benchmarks" / "fuzz.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
