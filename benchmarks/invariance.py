"""What measuring invariance costs over the forward passes that it needs.

    python benchmarks/invariance.py lenet5 all_cnn_c

For each model, in turn: `measure_invariance`, and the same model over as many batches of images that are already
transformed. Both trace the model once. The warp is compiled in a first round that is not counted; what that costs is
printed too. The ratio is taken by the clock and in processor time, which a busy machine disturbs less.
"""

import argparse
import json
import time
from statistics import median
from unittest.mock import patch

import numpy as np


def passes_needed(measure, model, test):
    """How often the measurement runs the model over all images, counted."""
    from recipes.evaluate import invariance

    counted = []
    plain = invariance.scores_of

    def counting(model):
        run = plain(model)

        def scores(batch):
            counted.append(len(batch))
            return run(batch)

        return scores

    with patch.object(invariance, "scores_of", counting):
        measure(model, test)
    return sum(counted) / len(test)


def seconds(work):
    """By the clock, and of all processors."""
    began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def row(name, shape, pixels, rounds):
    import tensorflow as tf

    import zoo
    from recipes.data import Split
    from recipes.data.dataset import EVALUATION_BATCH as BATCH
    from recipes.evaluate.invariance import measure_invariance, scores_of

    model = zoo.create_model(name, input_shape=shape)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (pixels, *model.input_shape[1:]), np.uint8)
    test = Split(images, random.integers(0, model.output_shape[-1], pixels))
    passes = passes_needed(measure_invariance, model, test)
    batches = [tf.constant(images[start : start + BATCH]) for start in range(0, pixels, BATCH)]

    def forward_passes():
        forward = scores_of(model)  # traced anew, as in the measurement
        for _ in range(round(passes)):
            for batch in batches:
                forward(batch).numpy()

    first = seconds(lambda: measure_invariance(model, test))
    forward_passes()
    took = np.array(
        [(seconds(lambda: measure_invariance(model, test)), seconds(forward_passes)) for _ in range(rounds)]
    )
    by_clock, of_processors = sorted(took[:, 0, 0] / took[:, 1, 0]), took[:, 0, 1] / took[:, 1, 1]
    return {
        "ratio": median(by_clock),
        "ratios": by_clock,
        "ratio_processor": float(np.median(of_processors)),
        "passes": passes,
        "seconds": float(np.median(took[:, 0, 0])),
        "seconds_forward": float(np.median(took[:, 1, 0])),
        "seconds_first": first[0],
        "images": pixels,
        "input_shape": list(model.input_shape[1:]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["lenet5", "all_cnn_c"])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", type=int, nargs=3, help="height width channels; the model's own if left out")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = {name: row(name, arguments.shape, arguments.images, arguments.rounds) for name in arguments.models}
    if arguments.json:
        print(json.dumps(result, indent=1))
        return
    for name, row in result.items():
        low, high = row["ratios"][0], row["ratios"][-1]
        print(
            f"{name:16} {row['ratio']:.2f} times the forward passes ({low:.2f} to {high:.2f}), "
            f"{row['ratio_processor']:.2f} in processor time   "
            f"{row['passes']:.0f} passes, {row['seconds']:.2f} s against {row['seconds_forward']:.2f} s, "
            f"with compiling {row['seconds_first']:.2f} s"
        )


if __name__ == "__main__":
    main()
