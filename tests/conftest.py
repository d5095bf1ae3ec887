"""What every test runs under."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest


@pytest.fixture(scope="session", autouse=True)
def prepared_data_folder(tmp_path_factory):
    """Prepared data sets and caches go to a folder of the test session, never to the user's own."""
    folder = tmp_path_factory.mktemp("tensorflow_datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TFDS_DATA_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory, prepared_data_folder):
    """A real run: LeNet-5 after three epochs on the embedded digits. Tests read it and do not change it."""
    from recipes.fit import fit

    out = tmp_path_factory.mktemp("runs") / "first"
    return fit("lenet5", data="digits", out=out, recipe="quick", overrides=["epochs=3"], quiet=True).run


@pytest.fixture(scope="session")
def digit_picture(tmp_path_factory):
    """A PNG of a handwritten 6 that is in the embedded set, 28x28, grey."""
    from PIL import Image

    from recipes.data.digits import read_digits

    images, labels = read_digits()
    file = tmp_path_factory.mktemp("pictures") / "six.png"
    Image.fromarray(images[labels == 6][0, :, :, 0]).save(file)
    return file


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
