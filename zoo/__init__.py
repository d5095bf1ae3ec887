"""What a model is: a registry of convolutional architectures, and the builder that makes Keras models of them.

>>> list_models("lenet5*")
['lenet5', 'lenet5_1998']
>>> get_card("lenet5").parameters
61706
>>> describe("lenet5").receptive_field
(16, 16)
"""

from typing import TYPE_CHECKING

from zoo.anatomy import Anatomy, describe
from zoo.lazy import lazy_names
from zoo.registry import Card, Paper, Scaling, Weights, get_card, list_models, load_plugin, register

if TYPE_CHECKING:  # else they are imported when they are used: they import Keras
    from zoo.builder import create_model
    from zoo.score_map import score_map_model

__all__ = [
    "Anatomy",
    "Card",
    "Paper",
    "Scaling",
    "Weights",
    "create_model",
    "describe",
    "get_card",
    "list_models",
    "load_plugin",
    "register",
    "score_map_model",
]

__getattr__ = lazy_names(__name__, {"builder": ["create_model"], "score_map": ["score_map_model"]})


def __dir__() -> list[str]:
    return __all__
