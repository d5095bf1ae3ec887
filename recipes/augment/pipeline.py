"""How images are varied in training: the settings, what is drawn for each image, and applying it.

Geometry is one warp (`affine.py`, `warp.py`); what changes pixels where they are, and what mixes two images, is in
`operations.py`. Nothing keeps a random state: what happens to an image is a function of
(seed, epoch, index of the example), so batch size, workers and restarts do not matter.

Read to validate settings, so TensorFlow is imported at first use.
"""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import lazy_loader

from recipes.augment.affine import DRAWS, Affine, affine_matrices, compiled_matrices
from recipes.augment.ranges import About, Blur, Colour, Cutmix, Erasing, Mixup, RandAugment

if TYPE_CHECKING:
    import tensorflow as tf
else:
    tf = lazy_loader.load("tensorflow")

__all__ = ["DRAWS", "Affine", "Augment", "affine_matrices"]


class Augment(Affine):
    """Everything that is done to a training image. The geometric ranges are its own, the rest is in tables.

    With both `mixup` and `cutmix`, each image meets one of them.
    """

    about: About = About()
    blur: Blur | None = None
    colour: Colour | None = None
    randaugment: RandAugment | None = None
    erasing: Erasing | None = None
    mixup: Mixup | None = None
    cutmix: Cutmix | None = None

    @property
    def is_identity(self) -> bool:
        """Whether an image alone is left as it is; `mixes` tells whether it meets another."""
        return super().is_identity and not self._parts

    @property
    def mixes(self) -> bool:
        """Whether labels become shares of classes."""
        return self.mixup is not None or self.cutmix is not None

    @property
    def _parts(self) -> dict[str, Blur | Colour | RandAugment | Erasing]:
        parts = {name: getattr(self, name) for name in PARTS}
        return {name: part for name, part in parts.items() if part is not None}

    def draw(self, examples: int, seed: "tf.Tensor") -> "tf.Tensor":
        """Numbers in [0, 1], float32 (examples, columns); row i belongs to example i.

        They are a function of `seed`, an integer tensor (2,), alone. Each operation has its own stream: to add one
        does not change what the others draw.
        """
        streams = [super().draw(examples, seed)]
        for name, part in self._parts.items():
            streams.append(tf.random.stateless_uniform((examples, part.columns), _stream(seed, name)))
        if self.mixes:
            streams.append(_mixing_draws(self, examples, _stream(seed, "mixing")))
        return tf.concat(streams, axis=1)

    def split(self, draws: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """The columns of `draws` by operation: `affine`, those of `PARTS` that are set, and `mixing`."""
        widths = {"affine": DRAWS} | {name: part.columns for name, part in self._parts.items()}
        if self.mixes:
            widths["mixing"] = MIXING_DRAWS
        ends = [sum(list(widths.values())[: i + 1]) for i in range(len(widths))]
        return {name: draws[:, end - widths[name] : end] for name, end in zip(widths, ends, strict=True)}

    def matrices(self, draws: "tf.Tensor", height: int, width: int) -> "tf.Tensor":
        """As `Affine.matrices`, with the geometric operations of RandAugment folded in."""
        matrices = super().matrices(draws, height, width)
        if self.randaugment is None:
            return matrices
        from recipes.augment.operations import randaugment_matrices

        return randaugment_matrices(self.randaugment, self.split(draws)["randaugment"], matrices, height, width)

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """The images (B, H, W, C), pixels 0-255, each changed by its row of `draws`; same dtype and shape."""
        if not super().is_identity or self.randaugment:
            from recipes.augment.warp import warp

            matrices = compiled_matrices(self, *images.shape[1:3])(draws)
            images = warp(images, matrices, fill=self.fill, value=self.value, interpolation=self.interpolation)
        if self.blur:
            from recipes.augment.operations import blurred

            images = blurred(images, self.split(draws)["blur"], self.blur.sigma, self.blur.probability)
        return _compiled_appearance(self)(images, draws) if self._parts.keys() - {"blur"} else images

    def partners(self, draws: "tf.Tensor", examples: int) -> "tf.Tensor":
        """Which of the `examples` each row of `draws` (B, columns) is mixed with, int32 (B,)."""
        index = tf.cast(self.split(draws)["mixing"][:, 0] * examples, tf.int32)
        return tf.minimum(index, examples - 1)

    def mix(
        self,
        images: "tf.Tensor",
        labels: "tf.Tensor",
        other_images: "tf.Tensor",
        other_labels: "tf.Tensor",
        draws: "tf.Tensor",
    ) -> "tuple[tf.Tensor, tf.Tensor]":
        """Mixes images (B, H, W, C) with their partners, and their one-hot labels (B, classes) by the same shares."""
        from recipes.augment.operations import mixed

        share = _compiled_share(self, *images.shape[1:3])(self.split(draws)["mixing"])
        return mixed(images, labels, other_images, other_labels, share)


PARTS = ("blur", "colour", "randaugment", "erasing")  # in the order of doing
STREAMS = {name: number for number, name in enumerate((*PARTS, "mixing"))}
MIXING_DRAWS = 6  # partner, whether, the box's centre, and the shares of mixup and of cutmix


def _stream(seed: "tf.Tensor", name: str) -> "tf.Tensor":
    return tf.random.experimental.stateless_fold_in(seed, STREAMS[name])


def _mixing_draws(augment: Augment, examples: int, seed: "tf.Tensor") -> "tf.Tensor":
    def beta(kind: Mixup | None, number: int) -> tf.Tensor:
        if kind is None:
            return tf.ones((examples, 1))
        gamma = tf.random.stateless_gamma(
            (examples, 2), tf.random.experimental.stateless_fold_in(seed, number), alpha=kind.alpha
        )
        total = tf.reduce_sum(gamma, axis=1, keepdims=True)
        return tf.where(total > 0, gamma[:, :1] / tf.maximum(total, 1e-30), 0.5)

    uniform = tf.random.stateless_uniform((examples, MIXING_DRAWS - 2), seed)
    return tf.concat([uniform, beta(augment.mixup, 1), beta(augment.cutmix, 2)], axis=1)


@cache
def _compiled_appearance(augment: Augment) -> "Callable[[tf.Tensor, tf.Tensor], tf.Tensor]":
    from recipes.augment.operations import appearance

    def apply(images: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
        return appearance(images, augment._parts, augment.split(draws))

    return tf.function(apply, jit_compile=True, autograph=False, reduce_retracing=False)


@cache
def _compiled_share(augment: Augment, height: int, width: int) -> "Callable[[tf.Tensor], tf.Tensor]":
    from recipes.augment.operations import mixing_share

    return tf.function(
        lambda draws: mixing_share(augment.mixup, augment.cutmix, draws, height, width),
        jit_compile=True,
        autograph=False,
    )
