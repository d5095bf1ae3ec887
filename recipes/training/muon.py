"""Muon: momentum whose steps are orthogonal matrices, for kernels of convolutions too."""

import math
from collections.abc import Sequence
from typing import Any

from zoo.backend import keras
from zoo.keras_internals import index_of

# Of Newton and Schulz' iteration in the fifth degree: steepest at zero, so that five rounds bring any singular value
# above 0.01 to between 0.6 and 1.3 (Jordan 2024).
ROUNDS, COEFFICIENTS = 5, (3.4445, -4.7750, 2.0315)
MOMENTUM = 0.95
RMS = 0.2  # of a step's elements, about what AdamW's have: one learning rate and one decay do for both (Liu 2025)
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # of Adam


def is_matrix(variable: Any) -> bool:
    """Whether a kernel maps several values to several maps; that of single maps (depthwise) does not."""
    return len(variable.shape) >= 2 and min(math.prod(variable.shape[:-1]), variable.shape[-1]) > 1


def orthogonalized(matrix: Any) -> Any:
    """A matrix (M, N) with all its singular values brought near 1, its singular vectors as they are."""
    ops = keras.ops
    rows, columns = matrix.shape
    x = ops.transpose(matrix) if rows > columns else matrix
    x = x / (ops.sqrt(ops.sum(ops.square(x))) + EPSILON)
    a, b, c = COEFFICIENTS
    for _ in range(ROUNDS):
        gram = ops.matmul(x, ops.transpose(x))
        x = a * x + ops.matmul(b * gram + c * ops.matmul(gram, gram), x)
    return ops.transpose(x) if rows > columns else x


@keras.saving.register_keras_serializable(package="recipes")
class Muon(keras.optimizers.Optimizer):
    """Nesterov's momentum, made orthogonal, for kernels; AdamW for biases, normalisation and the last layer.

    A kernel (H, W, in, out) is taken as the matrix (H * W * in, out) (Jordan 2024, airbench; arXiv 2404.00498 has the
    training it was found on). A step has the elements' root mean square of AdamW's (arXiv 2502.16982, section 2.2).
    Keras' optimizer of this name leaves all that is not a matrix already to AdamW, and so every convolution.
    """

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        last = max((number for number, one in enumerate(variables) if len(one.shape) >= 2), default=-1)
        self.momentums: list[Any] = []
        self.velocities: list[Any] = []
        for number, variable in enumerate(variables):
            self.momentums.append(self.add_variable_from_reference(variable, name="momentum"))
            of_adam = number == last or not is_matrix(variable)
            self.velocities.append(self.add_variable_from_reference(variable, name="velocity") if of_adam else None)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        ops, number = keras.ops, index_of(self, variable)
        rate, gradient = ops.cast(learning_rate, variable.dtype), ops.cast(gradient, variable.dtype)
        momentum, velocity = self.momentums[number], self.velocities[number]
        if velocity is None:
            self.assign(momentum, MOMENTUM * momentum + gradient)
            ahead = ops.reshape(gradient + MOMENTUM * momentum, (-1, variable.shape[-1]))
            scale = RMS * max(ahead.shape) ** 0.5
            self.assign_sub(variable, rate * scale * ops.reshape(orthogonalized(ahead), variable.shape))
            return
        steps = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(momentum, (1 - BETA_1) * (gradient - momentum))
        self.assign_add(velocity, (1 - BETA_2) * (ops.square(gradient) - velocity))
        rate = rate * ops.sqrt(1 - ops.power(BETA_2, steps)) / (1 - ops.power(BETA_1, steps))
        self.assign_sub(variable, rate * momentum / (ops.sqrt(velocity) + EPSILON))
