"""What chooses the epoch of a small set: validation accuracy or loss, of a tenth or a fifth of the images.

Draws 165 of the embedded digits several times, trains LeNet-5 on what does not validate, and scores the chosen epoch
on 1,000 other digits.

    python benchmarks/epoch_choice.py [--draws 10] [--epochs 25] [--json]
"""

import argparse
import json

import numpy as np

import zoo
from recipes.data.readers.digits import read_digits
from recipes.data.splits import draw_parts
from recipes.tasks import TASKS
from zoo.backend import keras

IMAGES, TESTED = 165, 1_000


def trained(images: np.ndarray, labels: np.ndarray, parts: dict[str, np.ndarray], epochs: int, seed: int) -> list[dict]:
    """A row an epoch, as in a run's history, with the test accuracy beside it."""
    keras.utils.set_random_seed(seed)
    model = zoo.create_model("lenet5", classes=10, input_shape=(28, 28, 1))
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = []
    for _ in range(epochs):
        model.fit(images[parts["train"]], labels[parts["train"]], batch_size=32, verbose=0)
        row = {}
        for part, name in (("validation", "val"), ("test", "test")):
            loss, accuracy = model.test_on_batch(images[parts[part]], labels[parts[part]])
            row |= {f"{name}_loss": float(loss), f"{name}_accuracy": float(accuracy)}
        history.append(row)
    return history


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    images, labels = read_digits()
    merit = TASKS["classification"].merit
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(asked.draws):
        order = np.random.default_rng(seed).permutation(len(images))
        pool, test = order[:IMAGES], order[IMAGES : IMAGES + TESTED]
        parts = draw_parts({"train": pool, "test": test}, labels, seed=seed)
        second = draw_parts({"train": parts["train"], "test": test}, labels, seed=seed)
        twice = second | {"validation": np.concatenate([parts["validation"], second["validation"]])}
        for share, chosen in (("a tenth", parts), ("a fifth", twice)):
            history = trained(images, labels, chosen, asked.epochs, seed)
            for rule, few in (("accuracy", 100), ("loss", len(chosen["validation"]))):
                best = max(history, key=lambda row: merit(row, few))
                found.setdefault((share, rule), []).append(best["test_accuracy"])
    if asked.json:
        print(json.dumps([{"validate": share, "by": rule, "accuracy": all_} for (share, rule), all_ in found.items()]))
        return
    print(f"{'validate':10}{'chosen by':12}{'mean':>8}{'worst':>8}   test accuracy in {asked.draws} draws")
    for (share, rule), scores in found.items():
        print(f"{share:10}{rule:12}{np.mean(scores):8.1%}{min(scores):8.1%}")


if __name__ == "__main__":
    main()
