"""Training beside plain Keras: an epoch of a recipe against `keras.Model.fit` on arrays in memory, in turn.

    python benchmarks/fit_speed.py lenet5 all_cnn_c resnet8

Same net, same batch size, same optimizer, no augmentation. Keras runs at the best of its settings: one step or
eleven between two looks at the loss, compiled by XLA or not; the best is found first.
"""

import argparse
import itertools
import json
import time
from dataclasses import replace
from statistics import median

import keras

import recipes.data
from recipes.training.model import compiled_model, training_batches
from recipes.training.resolving import resolve


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=1408, help="training images of an epoch")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    results = {name: measure(name, arguments.images, arguments.rounds) for name in arguments.models}
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        for name, r in results.items():
            print(
                f"{name:12} {r['ratio']:.2f} of plain Keras' images/s ({r['min']:.2f} to {r['max']:.2f}), {r['keras']}"
            )


def measure(name, images, rounds):
    recipe = resolve(name, "digits", "digits", ["augment=none", "epochs=1000", "optimizer.ema=0.0"])
    data = recipes.data.load("digits", image_shape=recipe.data.image_shape, quiet=True)
    # Models are compiled for just this epoch: how many steps run at once must divide its steps.
    data = replace(data, train=data.train[:images])
    train, steps = data.train, recipe.steps_per_epoch(len(data.train))

    def plain(at_once, xla):
        model = compiled_model(recipe, data)
        model.compile(model.optimizer, model.loss, metrics=["accuracy"], steps_per_execution=at_once, jit_compile=xla)
        return lambda: model.fit(train.images, train.labels, recipe.batch_size, verbose=0)

    def ours():
        model, batches = compiled_model(recipe, data), training_batches(train, recipe, len(data.class_names))
        return lambda: model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)

    def seconds(epoch):
        began = time.perf_counter()
        epoch()
        return time.perf_counter() - began

    candidates = {f"{n} at once, XLA {x}": plain(n, x) for n, x in itertools.product((1, 11), (False, True))}
    for epoch in candidates.values():
        epoch()  # traced and compiled outside the clock
    best = min(candidates, key=lambda key: min(seconds(candidates[key]) for _ in range(2)))
    mine = ours()
    mine()
    ratios = sorted(seconds(candidates[best]) / seconds(mine) for _ in range(rounds))
    keras.backend.clear_session()
    return {"ratio": median(ratios), "min": ratios[0], "max": ratios[-1], "keras": best}


if __name__ == "__main__":
    main()
