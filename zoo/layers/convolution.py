"""Convolution as mathematics has it, beside the cross-correlation that goes by that name in models."""

from typing import Any, Literal, get_args

from zoo.backend import keras
from zoo.errors import unknown
from zoo.registry import Tensor

Operation = Literal["convolution", "cross_correlation"]


@keras.saving.register_keras_serializable(package="zoo")
class Conv2D(keras.layers.Conv2D):
    """Keras' Conv2D with a choice of which of the two operations is meant.

    With a kernel w of n x m:
    `cross_correlation`, Keras' own: y[i, j] = sum_uv w[u, v] x[i + u, j + v];
    `convolution`: y[i, j] = sum_uv w[n - 1 - u, m - 1 - v] x[i + u, j + v], the kernel rotated by 180 degrees.
    Of training nothing changes but that the kernels are rotated: see `docs/convolution.md`.

    Args:
        filters, kernel_size, **kwargs: as in `keras.layers.Conv2D`; shapes and dtypes too.
        operation: `convolution` or `cross_correlation`.

    Raises:
        RequestError: an unknown operation.

    Source: Goodfellow, Bengio, Courville 2016, "Deep learning", section 9.1, equations 9.4 to 9.6.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        *args: Any,
        operation: Operation = "convolution",
        **kwargs: Any,
    ) -> None:
        super().__init__(filters, kernel_size, *args, **kwargs)
        if operation not in get_args(Operation):
            raise unknown("operation", operation, get_args(Operation))
        self.operation = operation

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        if self.operation == "convolution":
            kernel = keras.ops.flip(kernel, axis=(0, 1))
        return super().convolution_op(inputs, kernel)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "operation": self.operation}
