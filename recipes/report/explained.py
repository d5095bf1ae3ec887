"""Where a model looked in images of one's own, as drawings beside the predictions."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.evaluate.inside import LEAST_MAP, class_maps
from recipes.report.charts import heat
from recipes.scorers import Scorer
from recipes.support.files import write_whole
from zoo.errors import RequestError

PANEL = 224  # pixels a side at least, of each of the three panels


class Explainer:
    """Writes a PNG an image: the image as the model sees it, and what spoke for a class, by Grad-CAM and by LayerCAM.

    Args:
        scorer: a run, or a `.keras` file of this zoo; Keras goes back through it.
        folder: made if need be.
        images: the files that will be explained; each drawing is called after one.

    Raises:
        RequestError: something that Keras does not run, a task without classes, or a folder that cannot be made.
    """

    def __init__(self, scorer: Scorer, folder: Path, images: Iterable[str | Path]) -> None:
        if scorer.path.suffix.lower() in (".tflite", ".onnx"):
            raise RequestError(f"{scorer.path} cannot be explained, which takes gradients: give the run that it is of.")
        if scorer.task is not None and not scorer.task.labels.has_classes:
            raise RequestError(f"{scorer.path} gives a number, not a class that something could speak for.")
        self._scorer, self._folder = scorer, folder
        self._names: dict[str, Path] = {}
        for image in images:
            stem, count = Path(image).stem, 1
            while (file := folder / f"{stem}{f'-{count}' if count > 1 else ''}-explained.png") in self._names.values():
                count += 1
            self._names.setdefault(str(image), file)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RequestError(f"{folder} is not possible: {error.strerror}.") from None

    def write(self, image: str | Path, pixels: np.ndarray, number: int) -> Path:
        """Draws one.

        Args:
            image: its file.
            pixels: uint8 (H, W, C), as the model sees it.
            number: the class.

        Raises:
            RequestError: a model without a feature map.
            FailureError: the file cannot be written.
        """
        model = self._scorer.keras_model
        cams = None if model is None else class_maps(model, pixels[None], np.array([number]))
        if cams is None:
            raise RequestError(
                f"{self._scorer.path} cannot be explained: it has no feature map of at least {LEAST_MAP}x{LEAST_MAP}."
            )
        file = self._names[str(image)]
        scale = max(1, -(-PANEL // max(pixels.shape[:2])))
        large = pixels.repeat(scale, 0).repeat(scale, 1)
        colour = large if large.shape[2] == 3 else large.repeat(3, 2)
        panels = [colour, *(heat(large, cam[0]) for cam in cams)]
        whole = Image.fromarray(np.concatenate(panels, axis=1))
        write_whole(file, lambda aside: whole.save(aside, "PNG"))
        return file
