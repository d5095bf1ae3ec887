"""Augmentation as a Keras layer, for those who want it in their model instead of in front of it."""

from typing import Any

from recipes.augment.pipeline import Augment
from zoo.backend import keras, tf


@keras.saving.register_keras_serializable(package="recipes")
class Augmentation(keras.layers.Layer):
    """Varies images in training and leaves them alone otherwise, so that an export drops it.

    Takes and returns images (B, H, W, C) with pixels 0-255 in the layer's `compute_dtype`; H, W and C are known.
    The draws come from a seeded stream of the layer, one after the other, as in Keras' own random layers: they
    depend on the order of the batches. Where a training must be repeatable example by example, use
    `recipes.augment.pipeline.Augment` in `tf.data`, as `zoo fit` does.

    Args:
        settings: an `Augment` or `Affine`, or its settings as a dictionary.
        seed: of the stream of draws.

    Raises:
        ValueError: settings that mix images, which a layer that does not see the labels cannot do.

    Example:
        >>> layer = Augmentation({"rotation": 20, "fill": "reflect"}, seed=0)
        >>> layer.settings.rotation
        20.0
    """

    def __init__(self, settings: Augment | dict[str, Any], *, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(settings, dict):
            settings = settings.model_dump(exclude_defaults=True)
        self.settings = Augment.model_validate(settings)
        if self.settings.mixes:
            raise ValueError("mixup and cutmix change labels too; a layer sees none: leave them out, or use tf.data.")
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, images: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if not training:
            return images
        seed = tf.cast(self.seed_generator.next(), tf.int32)
        return self.settings(images, self.settings.draw(tf.shape(images)[0], seed))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        settings = self.settings.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        config: dict[str, Any] = super().get_config()
        return config | {"settings": settings, "seed": self.seed}
