"""How images are varied in training: all settings, what is drawn for each image, and applying it.

Geometry is one warp (`affine.py`, `warp.py`); every other operation is a class in a file of its own, and `Augment` has
them in order. Nothing keeps a random state: what happens to an image is a function of
(seed, epoch, index of the example), so batch size, workers and restarts do not matter.

Read to validate settings, so TensorFlow is imported at first use.
"""

from collections.abc import Callable
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from recipes.augment.affine import Affine, affine_matrices
from recipes.augment.blur import Blur
from recipes.augment.colour import Colour
from recipes.augment.erasing import Erasing
from recipes.augment.mixing import DRAWS, Cutmix, Mixing, Mixup, compiled_mixed, draw_mixing, kept_weight
from recipes.augment.operation import Operation, Settings
from recipes.augment.pixels import as_dtype
from recipes.augment.randaugment import RandAugment
from zoo.backend import tf

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Affine", "Augment", "affine_matrices"]


class About(Settings):
    """What an augmentation is for, where it is from, and what to mind when using it."""

    summary: str = ""
    source: str = ""
    advice: str = ""


class Augment(Affine):
    """Everything that is done to a training image. The geometric ranges are its own, the rest is in tables.

    With both `mixup` and `cutmix`, each image meets one of them.

    Example:
        >>> augment = Augment(rotation=15, erasing={"probability": 0.25}, colour={"brightness": 0.2})
        >>> list(augment.operations)
        ['colour', 'erasing']
        >>> augment.colour
        Colour(brightness=0.2, contrast=0.0, saturation=0.0)
        >>> augment.mixes
        False
    """

    about: About = About()
    # After the one warp, in this order.
    blur: Blur | None = None
    colour: Colour | None = None
    randaugment: RandAugment | None = None
    erasing: Erasing | None = None
    mixup: Mixup | None = None
    cutmix: Cutmix | None = None

    @property
    def operations(self) -> dict[str, Operation]:
        """Those that are set, by name, in the order of the fields; neither the geometric ranges nor mixing."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if isinstance(value, Operation)}

    @property
    def is_identity(self) -> bool:
        """Whether an image alone is left as it is; `mixes` tells whether it meets another."""
        return super().is_identity and not self.operations

    @property
    def mixes(self) -> bool:
        """Whether labels become fractions of classes."""
        return any(self._ways)

    @property
    def _ways(self) -> tuple[Mixing | None, ...]:
        return (self.mixup, self.cutmix)

    def draw(self, examples: int, seed: "tf.Tensor") -> "tf.Tensor":
        """Numbers in [0, 1], float32 (examples, columns); row i belongs to example i.

        They are a function of `seed`, an integer tensor (2,), alone. Each operation has its own stream: to add one
        does not change what the others draw.
        """
        drawn = [super().draw(examples, seed)]
        drawn += [operation.draw(examples, seed) for operation in self.operations.values()]
        if self.mixes:
            drawn.append(draw_mixing(self._ways, examples, seed))
        return tf.concat(drawn, axis=1)

    def split(self, draws: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """The columns of `draws` (..., columns) by operation: `affine`, those of `operations`, and `mixing`."""
        widths = {"affine": len(self.draws)}
        widths |= {name: len(operation.draws) for name, operation in self.operations.items()}
        if self.mixes:
            widths["mixing"] = len(DRAWS) + len(self._ways)
        parts, start = {}, 0
        for name, width in widths.items():
            parts[name] = draws[..., start : start + width]
            start += width
        return parts

    def matrices(self, draws: "tf.Tensor", height: int, width: int) -> "tf.Tensor":
        """As `Affine.matrices`, with the geometry of other operations folded in."""
        matrices, parts = super().matrices(draws, height, width), self.split(draws)
        bottom = tf.broadcast_to(tf.constant([[[0.0, 0.0, 1.0]]]), [tf.shape(draws)[0], 1, 3])
        for name, operation in self.operations.items():
            for step in operation.motion(parts[name], height, width):
                matrices = matrices @ tf.concat([step, bottom], axis=1)
        return matrices

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """The images (B, H, W, C), pixels 0-255, each changed by its row of `draws`; same dtype and shape."""
        operations = self.operations
        if not super().is_identity or any(operation.moves for operation in operations.values()):
            images = self.resampled(images, draws)
        for fused, names in groupby(operations, key=lambda name: operations[name].fused):
            images = _compiled_run(self, tuple(names), fused)(images, draws)
        return images

    def describe(self, draws: "np.ndarray", size: tuple[int, int]) -> list[str]:
        """What one row of `draws` (columns,) does to an image of `size` (H, W), but for mixing, in words."""
        words, parts = super().describe(draws, size), self.split(draws)
        for name, operation in self.operations.items():
            words += operation.describe(parts[name], size)
        return words

    def partners(self, draws: "tf.Tensor", examples: int) -> "tf.Tensor":
        """Which of the `examples` each row of `draws` (B, columns) is mixed with, int32 (B,)."""
        drawn = self.split(draws)["mixing"][:, DRAWS.index("partner")]
        return tf.minimum(tf.cast(drawn * examples, tf.int32), examples - 1)

    def mix(
        self,
        images: "tf.Tensor",
        labels: "tf.Tensor",
        other_images: "tf.Tensor",
        other_labels: "tf.Tensor",
        draws: "tf.Tensor",
    ) -> "tuple[tf.Tensor, tf.Tensor]":
        """Mixes images (B, H, W, C) with their partners, and their one-hot labels (B, classes) by the same weights."""
        weight = _compiled_weight(self._ways, *images.shape[1:3])(self.split(draws)["mixing"])
        return compiled_mixed()(images, labels, other_images, other_labels, weight)


@cache
def _compiled_run(
    augment: Augment, names: tuple[str, ...], fused: bool
) -> "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]":
    """Some of the operations, one after the other in float32, rounded once; one XLA kernel if they are `fused`."""

    def apply(images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        parts, changed = augment.split(draws), tf.cast(images, tf.float32) if fused else images
        for name in names:
            changed = augment.operations[name](changed, parts[name])
        return as_dtype(changed, images.dtype)

    compiled: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = tf.function(
        apply, jit_compile=fused or None, autograph=False, reduce_retracing=False
    )
    return compiled


@cache
def _compiled_weight(ways: tuple[Mixing | None, ...], height: int, width: int) -> "Callable[[tf.Tensor], tf.Tensor]":
    compiled: Callable[[tf.Tensor], tf.Tensor] = tf.function(
        lambda draws: kept_weight(ways, draws, height, width), jit_compile=True, autograph=False
    )
    return compiled
