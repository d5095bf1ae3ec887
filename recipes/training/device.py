"""What a training does differently on a GPU, by the GPUs that there are: precision, and compilation by XLA.

The choice is written into the run's recipe, so that a training that goes on does what it did before.
"""

from collections.abc import Sequence
from typing import TypeVar

from recipes.config.settings import Recipe
from recipes.distributed.devices import Gpu

# From which compute capability on tensor cores compute in it.
HALVES = (((8, 0), "mixed_bfloat16"), ((7, 0), "mixed_float16"))

AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


def precision_for(gpus: Sequence[Gpu]) -> str:
    """What layers compute in where the recipe does not say: what tensor cores of all GPUs are fast at; float32 without.

    >>> precision_for([Gpu(0, "NVIDIA H100", (9, 0)), Gpu(1, "Tesla T4", (7, 5))])
    'mixed_float16'
    >>> precision_for([])
    'float32'
    """
    weakest = min((gpu.capability or (0, 0) for gpu in gpus), default=(0, 0))
    return next((half for least, half in HALVES if weakest >= least), "float32")


def settled(recipe: AnyRecipe, gpus: Sequence[Gpu], *, alone: bool = True) -> AnyRecipe:
    """The recipe with what it leaves to the device.

    On a CPU that is float32, without XLA, which slows a training down there.

    Args:
        recipe: its own `precision` and `jit_compile` stay.
        gpus: that the training takes; none for a CPU.
        alone: whether one process trains on one device.
    """
    chosen: dict[str, object] = {}
    if recipe.precision is None:
        chosen["precision"] = precision_for(gpus)
    if recipe.jit_compile is None and alone and len(gpus) == 1:
        chosen["jit_compile"] = True
    return recipe.model_copy(update=chosen)


def in_words(recipe: Recipe, settled: Recipe, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """What was chosen for a recipe, a sentence each; nothing on a CPU."""
    named = ("precision", "jit_compile")
    changed = [
        f"{name}={str(getattr(settled, name)).lower() if name == 'jit_compile' else getattr(settled, name)}"
        for name in named
        if getattr(settled, name) != getattr(recipe, name)
    ]
    if not gpus or not changed:
        return ()
    cards = ", ".join(dict.fromkeys(gpu.name for gpu in gpus))
    return (f"{' and '.join(changed)}, for {cards}; --set chooses others.",)
