"""Group convolution: kernels that are shared over rotations and mirror images, exactly.

Beside its own C maps, a layer has those that the rotated or mirrored image would give: maps of fields, see
`zoo.layers.fields` (Cohen and Welling 2016, https://arxiv.org/abs/1602.07576). Stored are the free kernels; what is
convolved is a function of them, which the converter folds: in an exported file a layer is one convolution.
"""

from typing import Any

import numpy as np

from zoo.backend import keras
from zoo.layers.basis import steerable_basis
from zoo.layers.fields import Axes, WindowedFieldLayer
from zoo.layers.windows import Padding
from zoo.registry import Tensor


@keras.saving.register_keras_serializable(package="zoo")
class GroupConv2D(WindowedFieldLayer):
    """Convolution over places and over the elements of a group: (B, H, W, order * C) to (B, h, w, order * filters).

    The kernel of element g is the free kernel moved by g, its copies in the order that g brings them into (Cohen and
    Welling 2016, equation 11). Up to 90 degrees, free kernels are the pixels themselves; for finer rotations
    they are coefficients of a fixed basis (`zoo.layers.basis`), so that quarter turns and mirrors are exact and what
    lies between them is approximate.

    Args:
        filters: maps of the output, before they are copied.
        kernel_size: (height, width), or one number for both.
        strides, padding: as in Keras.
        group: a name in `zoo.groups.GROUPS`.
        use_bias: one bias a map, shared by its copies.
        activation: of Keras.
        kernel_initializer: of the free kernels; a variance is that of the convolved kernel.

    Raises:
        RequestError: see `zoo.layers.fields.WindowedFieldLayer`.
    """

    lifting = False

    def __init__(
        self,
        filters: int,
        kernel_size: int | Axes,
        strides: int | Axes = 1,
        padding: Padding = "valid",
        group: str = "c4",
        *,
        use_bias: bool = True,
        activation: Any = None,
        kernel_initializer: Any = "he_normal",
        **kwargs: Any,
    ) -> None:
        super().__init__(kernel_size, strides, padding, group, **kwargs)
        self.filters, self.kernel_size, self.use_bias = int(filters), self.window, use_bias
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        size = (self.kernel_size[0], self.kernel_size[1])
        self.basis = steerable_basis(size[0], self.group) if self.group.fine_steps > 1 else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        super().build(input_shape)
        self.copies = 1 if self.lifting else self.group.order
        self.channels = int(input_shape[-1] or 0)
        own = self.channels if self.lifting else self.maps(self.channels)
        places = self.kernel_size if self.basis is None else (self.basis.shape[2],)
        self.free_kernel = self.add_weight(
            name="kernel",
            shape=(*places, self.copies, own, self.filters),
            initializer=self.kernel_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        self._moved = [self._source_of(element) for element in range(self.group.order)]

    def _source_of(self, element: int) -> tuple[int, np.ndarray]:
        """For an element the fine steps, and for every (row, column, copy) of its kernel which one it was before."""
        fine, quarters, mirror = self.group.motion(element)
        pixels = np.arange(np.prod(self.kernel_size)).reshape(self.kernel_size)
        pixels = np.rot90(pixels, quarters)
        pixels = pixels[:, ::-1] if mirror else pixels
        inverse = self.group.inverse(element)
        copies = [self.group.product(inverse, copy) for copy in range(self.copies)] if self.copies > 1 else [0]
        return fine, (pixels.reshape(-1, 1) * self.copies + np.array(copies)).ravel()

    @property
    def kernel(self) -> Tensor:
        """The convolved kernel, (height, width, channels, order * filters)."""
        shape, places = self.free_kernel.shape[-2:], int(np.prod(self.kernel_size)) * self.copies
        if self.basis is None:
            fine = [keras.ops.reshape(self.free_kernel, (places, *shape))]
        else:
            free = keras.ops.reshape(self.free_kernel, (self.basis.shape[2], -1))
            made = (keras.ops.matmul(keras.ops.cast(basis, free.dtype), free) for basis in self.basis)
            fine = [keras.ops.reshape(one, (places, *shape)) for one in made]
        # One copy after the other: the converter folds what does not grow, whatever its size.
        moved = [keras.ops.take(fine[step], source, axis=0) for step, source in self._moved]
        whole = moved[0] if len(moved) == 1 else keras.ops.concatenate(moved, axis=-1)
        return keras.ops.reshape(whole, self.kernel_shape)

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Of the convolved kernel, without making it."""
        return (*self.kernel_size, self.channels, self.group.order * self.filters)

    @property
    def parameters_expanded(self) -> int:
        """Weights of the convolution that this layer is in an exported file."""
        return int(np.prod(self.kernel_shape)) + self.use_bias * self.kernel_shape[-1]

    def call(self, inputs: Tensor) -> Tensor:
        bias = None if self.bias is None else keras.ops.tile(self.bias, self.group.order)
        return self.activation(self.convolved(inputs, self.kernel, bias))

    def convolved(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """With a kernel and a bias of `kernel_shape`, without the activation."""
        x = keras.ops.conv(inputs, kernel, self.strides, self.padding)
        return x if bias is None else x + bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self.output_sizes(input_shape[1:3]), self.group.order * self.filters)

    def get_config(self) -> dict[str, Any]:
        own = {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "use_bias": self.use_bias,
            "activation": keras.activations.serialize(self.activation),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="zoo")
class LiftingConv2D(GroupConv2D):
    """From an image or plain maps to maps of fields: (B, H, W, C) to (B, h, w, order * filters).

    Arguments and errors are those of `GroupConv2D`. Cohen and Welling 2016, equation 10.
    """

    lifting = True
