"""Symmetry of any network: it sees the image under every element of a group, and the maximum over them is taken.

Whatever f is, the largest f(g x) over a group does not change when x is rotated or mirrored: the same copies come in
another order (Laptev, Savinov, Buhmann and Pollefeys 2016, https://arxiv.org/abs/1604.06318). The copies of an image
lie one after the other in the batch: image b under element g in row b * order + g.
"""

from typing import Any

from zoo.backend import keras
from zoo.errors import RequestError
from zoo.groups import find_group
from zoo.registry import Tensor


class CopiesLayer(keras.layers.Layer):
    """What both layers share.

    Args:
        group: a name in `zoo.groups.EXACT`.

    Raises:
        RequestError: an unknown group, or one that does not map pixels onto pixels.
    """

    def __init__(self, group: str = "c4", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.group = find_group(group)
        if self.group.exact != self.group.name:
            raise RequestError(f"{self.name}: {group} does not map pixels onto pixels; nearest: {self.group.exact}.")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "group": self.group.name}


@keras.saving.register_keras_serializable(package="zoo")
class ImageCopies(CopiesLayer):
    """Images under every element of a group: (B, H, W, C) to (order * B, H, W, C).

    Args:
        group: `mirror`, `c4` or `d4`.

    Raises:
        RequestError: see `CopiesLayer`; where it is built, images that are not square, where quarter turns are asked.
    """

    copies_of_image = True

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        height, width = input_shape[1:3]
        if self.group.quarter_turns and (height != width or height is None):
            raise RequestError(f"{self.name}: quarter turns need square images of one size; received {height}x{width}.")
        super().build(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        ops, sizes = keras.ops, inputs.shape[1:]
        copies = [self._moved(inputs, element) for element in range(self.group.order)]
        # One below the other and then cut apart: so they are side by side in the batch, without a fifth dimension.
        below = ops.concatenate(copies, axis=1)
        if None in sizes:
            sizes = ops.shape(inputs)[1:]
        return ops.reshape(below, (-1, *sizes))

    def _moved(self, images: Tensor, element: int) -> Tensor:
        """As `zoo.groups.Group.applied`, by what TFLite has built in."""
        _, quarters, mirror = self.group.motion(element)
        flipped: list[int] = []
        if quarters % 2:  # a quarter turn is an exchange of rows and columns, and then of top and bottom
            images = keras.ops.transpose(images, (0, 2, 1, 3))
            flipped = [1] if quarters == 1 else [2]
        elif quarters == 2:
            flipped = [1, 2]
        if mirror:
            flipped = [axis for axis in (1, 2) if (axis in flipped) != (axis == 2)]
        return keras.ops.flip(images, axis=flipped) if flipped else images

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch = input_shape[0]
        return (None if batch is None else self.group.order * batch, *input_shape[1:])


@keras.saving.register_keras_serializable(package="zoo")
class CopyPooling(CopiesLayer):
    """The maximum of each feature over the copies of an image: (order * B, D) to (B, D).

    Args:
        group: that of `ImageCopies`.
    """

    def call(self, inputs: Tensor) -> Tensor:
        rows = keras.ops.reshape(inputs, (-1, self.group.order, *inputs.shape[1:]))
        return keras.ops.max(rows, axis=1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch = input_shape[0]
        return (None if batch is None else batch // self.group.order, *input_shape[1:])
