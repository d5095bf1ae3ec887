"""How training images are varied: settings, draws, and one resampling."""

from recipes.augment.affine import Affine, affine_matrices
from recipes.augment.pipeline import Augment

__all__ = ["Affine", "Augment", "affine_matrices"]
