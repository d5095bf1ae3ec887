"""All that is used of other packages than Keras beyond their public API; `tests/test_internals.py` holds it against
what is installed. For Keras and TensorFlow see `zoo/keras_internals.py`."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from zoo.backend import tfds

if TYPE_CHECKING:
    import optuna

OWN_FEATURES = "tensorflow_datasets.core.features."


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


@contextlib.contextmanager
def own_features_only() -> Iterator[None]:
    """In the block TensorFlow Datasets makes features of its own classes alone.

    A prepared set names the classes of its features in `features.json`, and usually the modules that it names are
    imported: any on the path, and with them what they do.

    Relies on `FeatureConnector.cls_from_name`, by which a class is found; no setting in public has it.

    Raises (inside the block):
        ValueError: another class is named.
    """
    connector = tfds.features.FeatureConnector
    usual, kept = connector.cls_from_name, vars(connector)["cls_from_name"]

    def own(name: str) -> Any:
        if not str(name).startswith(OWN_FEATURES):
            raise ValueError(f"it names the feature class {name!r}; allowed: those of {OWN_FEATURES[:-1]}")
        return usual(name)

    connector.cls_from_name = staticmethod(own)
    try:
        yield
    finally:
        connector.cls_from_name = kept


def set_trial_attribute(
    study: "optuna.Study", trial: "optuna.trial.FrozenTrial | optuna.trial.Trial", name: str, value: Any
) -> None:
    """Writes a user attribute of a trial that another process, maybe one that died, has drawn.

    Relies on `Study._storage` and `FrozenTrial._trial_id`. In public only the `Trial` that was drawn can be written
    to; on a `FrozenTrial`, as a study lists them, `set_user_attr` stays in memory.
    """
    study._storage.set_trial_user_attr(trial._trial_id, name, value)


def delegated_operations(interpreter: Any) -> dict[str, int] | None:
    """The operations of a `.tflite` file that LiteRT has handed to a delegate, and how often each occurs.

    Relies on `Interpreter._get_ops_details`, which lists the operations of the graph and then a `DELEGATE` for each
    stretch that it took over, with the tensors that go in and come out; nothing in public tells. None where it is not
    there any more.

    Args:
        interpreter: of `ai_edge_litert`, ready to run.
    """
    if not hasattr(interpreter, "_get_ops_details"):
        return None
    listed = interpreter._get_ops_details()
    maker = {int(made): row for row in listed if row["op_name"] != "DELEGATE" for made in row["outputs"]}
    found: dict[int, str] = {}
    for delegate in (row for row in listed if row["op_name"] == "DELEGATE"):
        known = {int(tensor) for tensor in delegate["inputs"]}
        waiting = [int(tensor) for tensor in delegate["outputs"]]
        while waiting:
            tensor = waiting.pop()
            if tensor in known or tensor not in maker:
                continue
            known.add(tensor)
            row = maker[tensor]
            found[row["index"]] = row["op_name"]
            waiting += [int(needed) for needed in row["inputs"]]
    return dict(sorted(Counter(found.values()).items()))
