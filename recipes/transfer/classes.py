"""Adding classes to a run: what its head knows, and which image was in which part, stay as they are."""

import numpy as np

from recipes.data import Data
from recipes.data.joining import with_parts, without_leaks
from recipes.data.split_table import parts_of_files
from recipes.run.folder import Run
from recipes.support.tables import some_of
from zoo.backend import keras
from zoo.errors import RequestError


def keep_head(model: "keras.Model", run: Run, class_names: tuple[str, ...]) -> None:
    """Gives the new head what the run's head knows of the classes that both have.

    Raises:
        RequestError: another kind of head, or a class of the run that is not among `class_names`.
    """
    if lost := [name for name in run.class_names if name not in class_names]:
        raise RequestError(f"classes of {run.path} would be lost: {some_of(lost)}.")
    columns = [class_names.index(name) for name in run.class_names]
    before = {layer.name: layer for layer in run.load_model().layers if layer.weights and layer.name != "backbone"}
    after = {layer.name: layer for layer in model.layers if layer.weights and layer.name != "backbone"}
    if before.keys() != after.keys():
        raise RequestError(f"keeping classes needs the head of {run.path}: pooling and hidden as they are there.")
    for name, layer in after.items():
        arrays = []
        for old, new in zip(before[name].get_weights(), layer.get_weights(), strict=True):
            if old.shape[:-1] != new.shape[:-1] or (old.shape != new.shape and old.shape[-1] != len(columns)):
                raise RequestError(f"{name} of {run.path} has other shapes: the image size must be the same.")
            if old.shape == new.shape and name not in ("logits", "score_map"):
                arrays.append(old)
                continue
            merged = np.array(new)
            merged[..., columns] = old
            arrays.append(merged)
        layer.set_weights(arrays)


def in_parts_of(run: Run, images: Data, *, skip_bad: bool) -> Data:
    """The images, where they are the run's in the parts that they had there: what it was tested on stays for that.

    Raises:
        RequestError: copies of one file are in several parts, and `skip_bad` does not leave them out.
    """
    if not run.split_table or not images.root:
        return images  # sets that bring their parts, or have them from the seed
    before = run.recipe.data
    part_of = parts_of_files(run.split_table, (before.source, *(before.also or ())))
    return without_leaks(with_parts(images, part_of), skip_bad=skip_bad)
