"""How training images are varied: settings, draws, and one resampling.

>>> Augment(rotation=15, scale=(0.9, 1.1)).is_identity
False
>>> Augment().is_identity
True
"""

from recipes.augment.affine import Affine, affine_matrices
from recipes.augment.operation import Operation
from recipes.augment.pipeline import Augment

__all__ = ["Affine", "Augment", "Operation", "affine_matrices"]
