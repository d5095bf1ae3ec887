"""What every test runs under."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

# Prepared data and caches go to a folder of the test session, never to the user's own. Set here and not in a fixture,
# because TensorFlow Datasets reads its variable when it is imported, which collecting the tests may do.
_FOLDER = tempfile.TemporaryDirectory(prefix="convzoo-tests-")
os.environ["TFDS_DATA_DIR"] = str(Path(_FOLDER.name, "tensorflow_datasets"))
os.environ["CONVZOO_CACHE"] = str(Path(_FOLDER.name, "cache"))


def pytest_unconfigure():
    _FOLDER.cleanup()


@pytest.fixture(scope="session")
def prepared_data_folder():
    """Where TensorFlow Datasets prepares its sets during the tests."""
    folder = Path(os.environ["TFDS_DATA_DIR"])
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory, prepared_data_folder):
    """A real run: LeNet-5 after three epochs on the embedded digits. Tests read it and do not change it."""
    from recipes.fit import fit

    out = tmp_path_factory.mktemp("runs") / "first"
    return fit("lenet5", data="digits", out=out, recipe="quick", overrides=["epochs=3"], quiet=True).run


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
