"""All that is used of other packages than Keras beyond their public API; `tests/test_internals.py` holds it against
what is installed. For Keras and TensorFlow see `zoo/keras_internals.py`."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna


@contextlib.contextmanager
def tfds_retries(count: int) -> Iterator[None]:
    """TensorFlow Datasets tries a download `count` times in the block: by default it takes minutes to fail offline.

    Relies on `MAX_RETRIES` in `tensorflow_datasets.core.download.downloader`; no setting in public has it.
    """
    from tensorflow_datasets.core.download import downloader

    usual = getattr(downloader, "MAX_RETRIES", None)
    downloader.MAX_RETRIES = count
    try:
        yield
    finally:
        downloader.MAX_RETRIES = usual


def set_trial_attribute(
    study: "optuna.Study", trial: "optuna.trial.FrozenTrial | optuna.trial.Trial", name: str, value: Any
) -> None:
    """Writes a user attribute of a trial that another process, maybe one that died, has drawn.

    Relies on `Study._storage` and `FrozenTrial._trial_id`. In public only the `Trial` that was drawn can be written
    to; on a `FrozenTrial`, as a study lists them, `set_user_attr` stays in memory.
    """
    study._storage.set_trial_user_attr(trial._trial_id, name, value)
