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
