"""How much of an epoch is spent inside the training step, and how much waiting for images.

    python benchmarks/pipeline.py lenet5 --data digits --recipe digits

Two trainings of the same model alternate, an epoch each: one on the recipe's own batches (shuffled, augmented), one on
a single batch that lies ready. The second is nothing but training steps, so its time over the first's is the fraction
of an epoch that is spent inside the step.
"""

import argparse
import json
import math
import time
from statistics import median

import tensorflow as tf


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    import recipes.data
    from recipes.training.model import compiled_model, training_batches
    from recipes.training.resolving import resolve

    recipe = resolve(arguments.model, arguments.data, arguments.recipe, ["epochs=100"])
    data = recipes.data.load(recipe.data.source, image_shape=recipe.data.image_shape)
    steps = math.ceil(len(data.train) / recipe.batch_size)
    batches = iter(training_batches(data.train, recipe, len(data.class_names)))
    ready = iter(tf.data.Dataset.from_tensors(next(batches)).repeat())
    seconds = {"recipe": [], "ready": []}
    models = {name: compiled_model(recipe, data) for name in seconds}
    sources = {"recipe": batches, "ready": ready}
    for name, model in models.items():
        model.make_train_function()
        model.train_function(sources[name])  # traced here, outside the clock

    for _ in range(arguments.epochs):
        for name, model in models.items():
            began = time.perf_counter()
            for _ in range(steps // model.steps_per_execution):
                model.train_function(sources[name])
            seconds[name].append(time.perf_counter() - began)
    shares = sorted(b / a for a, b in zip(seconds["recipe"], seconds["ready"], strict=True))
    result = {"share_in_step": median(shares), "min": shares[0], "max": shares[-1], "epochs": arguments.epochs}
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"inside the training step: {median(shares):.0%} of an epoch (min {shares[0]:.0%}, max {shares[-1]:.0%})")


if __name__ == "__main__":
    main()
