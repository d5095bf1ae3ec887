"""The settings of an augmentation, validated; readable without TensorFlow."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=100)]


class Settings(BaseModel):
    """Validated and frozen; a range has its smaller number first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> "Settings":
        for name, value in self:
            if isinstance(value, tuple) and len(value) == 2 and value[0] > value[1]:
                raise ValueError(f"{name} {list(value)} is not possible; allowed: the smaller number first")
        return self


class About(Settings):
    """What an augmentation is for, where it is from, and what to mind when using it."""

    summary: str = ""
    source: str = ""
    advice: str = ""


class Blur(Settings):
    """Gaussian blur.

    Attributes:
        sigma: smallest and largest standard deviation in pixels, up to 10.
        probability: share of the draws that are blurred.
    """

    columns: ClassVar[int] = 2
    sigma: tuple[Annotated[float, Field(gt=0, le=10)], Annotated[float, Field(gt=0, le=10)]] = (0.1, 2.0)
    probability: Share = 0.5


class Colour(Settings):
    """Brightness, contrast and saturation, each multiplied by a factor from 1 - range to 1 + range.

    Attributes:
        brightness: all pixels are multiplied.
        contrast: the distance from the image's mean grey.
        saturation: the distance from the pixel's own grey; only images of three channels have any.
    """

    columns: ClassVar[int] = 3
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0


class RandAugment(Settings):
    """A few operations, drawn for every image anew (Cubuk et al. 2020, https://arxiv.org/abs/1909.13719).

    Of the paper's fourteen, twelve: identity, rotate, shear x and y, translate x and y, brightness, contrast, colour,
    solarize, posterize, autocontrast; not equalize and sharpness. Geometry is folded into the one warp, before
    what changes pixels in place.

    Attributes:
        operations: how many in a row, 1 to 4 (the paper's N).
        magnitude: strength, as a share of the strongest that the paper tries (its M / 30).
    """

    operations: Annotated[int, Field(ge=1, le=4)] = 2
    magnitude: Share = 0.3

    @property
    def columns(self) -> int:
        return 2 * self.operations


class Erasing(Settings):
    """One rectangle is painted over (Zhong et al. 2020, https://arxiv.org/abs/1708.04896).

    Attributes:
        probability: share of the draws in which it is.
        area: smallest and largest share of the image.
        aspect: smallest and largest height over width.
        value: what it is painted with, 0-255.
    """

    columns: ClassVar[int] = 5
    probability: Share = 0.5
    area: tuple[Share, Share] = (0.02, 0.33)
    aspect: tuple[Annotated[float, Field(ge=0.05, le=20)], Annotated[float, Field(ge=0.05, le=20)]] = (0.3, 3.3)
    value: Annotated[float, Field(ge=0, le=255)] = 127.0


class Mixup(Settings):
    """Two images, and their labels, are averaged (Zhang et al. 2018, https://arxiv.org/abs/1710.09412).

    Attributes:
        alpha: of the Beta(alpha, alpha) that the first image's share is drawn from.
        probability: share of the images that are mixed.
    """

    alpha: Positive = 0.2
    probability: Share = 1.0


class Cutmix(Mixup):
    """A rectangle is taken from another image; labels by area (Yun et al. 2019, https://arxiv.org/abs/1905.04899)."""

    alpha: Positive = 1.0
