"""What every augmentation has: settings, the numbers that it draws for an image, its effect, and words for it.

Read to validate settings, so TensorFlow is imported at first use.
"""

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from zoo.backend import tf

if TYPE_CHECKING:
    import numpy as np

Fraction = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Validated and frozen; a range has its smaller number first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> "Settings":
        for name, value in self:
            if isinstance(value, tuple) and len(value) == 2 and value[0] > value[1]:
                raise ValueError(f"{name} {list(value)} is not possible; allowed: the smaller number first")
        return self


class Operation(Settings):
    """One way of varying images: a subclass has fields, a stream, named draws, `__call__` and `describe`.

    Each image is varied by its own row of `draws` (B, len(self.draws)), uniform in [0, 1).

    Class attributes:
        stream: number of the random stream. A run that is resumed must draw what it drew before, so a stream is never
            renumbered, nor given to two operations. None draws from the seed itself.
        draws: the names of the numbers drawn for an image, in the order of the columns.
        fused: whether XLA compiles the operation, into one kernel with its neighbours. One that is not may be given
            images of any dtype, and casts them where that is cheapest.
        moves: whether `motion` is not empty.
    """

    stream: ClassVar[int | None]
    fused: ClassVar[bool] = True
    moves: ClassVar[bool] = False

    @property
    def draws(self) -> tuple[str, ...]:
        raise NotImplementedError

    def draw(self, examples: int, seed: "tf.Tensor") -> "tf.Tensor":
        """Uniform numbers in [0, 1), float32 (examples, columns); row i belongs to example i.

        They are a function of `seed`, an integer tensor (2,), alone: whatever the batch size, the number of
        workers or a restart, an example is varied in the same way.
        """
        if self.stream is not None:
            seed = tf.random.experimental.stateless_fold_in(seed, self.stream)
        return tf.random.stateless_uniform((examples, len(self.draws)), seed)

    def named(self, draws: "tf.Tensor") -> "dict[str, tf.Tensor]":
        """The columns of `draws` (..., columns) by their names, each (...)."""
        return {name: draws[..., column] for column, name in enumerate(self.draws)}

    def __call__(self, images: "tf.Tensor", draws: "tf.Tensor") -> "tf.Tensor":
        """The images, float32 (B, H, W, C) with pixels 0-255, each varied by its row of `draws` (B, columns)."""
        raise NotImplementedError

    def motion(self, draws: "tf.Tensor", height: int, width: int) -> "list[tf.Tensor]":
        """Matrices (B, 2, 3), as `affine_matrices` gives them, that take part in the one resampling, in order."""
        return []

    def describe(self, draws: "np.ndarray", size: tuple[int, int]) -> list[str]:
        """What one row of `draws` (columns,) does to an image of `size` (H, W), in a few words each; [] if nothing."""
        raise NotImplementedError
