"""What a GPU makes of training: time to an accuracy, images a second of fine-tuning, and the share of time in kernels.

    python benchmarks/gpu.py --data /usr/share/datasets/fashion-mnist
    python benchmarks/gpu.py --data digits --recipe quick --model lenet5 --accuracy 0.9 --images 64 --size 64

The first part trains the recipe until the validation images reach the accuracy; its seconds count from the end of the
first step, behind start-up and compilation. The second trains all of efficientnet_lite0, as `zoo finetune` does with
`--recipe full`, on noise. Without a GPU it says so, and its figures are of the CPU.
"""

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from recipes.config.presets import load_recipe
from recipes.data import Split
from recipes.distributed.team import ALONE
from recipes.training.device import settled
from recipes.training.loop import train
from recipes.training.model import compiled_model, seed_all
from recipes.training.resolving import resolve
from recipes.training.session import load_images


class Watch(keras.callbacks.Callback):
    """Notes when the first step ends, and the images a second of every epoch behind the first; traces the last."""

    async_safe = True

    def __init__(self, images, epochs=0, traces=None):
        super().__init__()
        self.first, self.rates, self.share = None, [], None
        self._images, self._epochs, self._traces = images, epochs, traces

    def on_train_batch_end(self, batch, logs=None):
        self.first = self.first or time.perf_counter()

    def on_epoch_begin(self, epoch, logs=None):
        if self._traces and epoch == self._epochs - 1:
            tf.profiler.experimental.start(str(self._traces))
        self._began = time.perf_counter()

    def on_test_begin(self, logs=None):
        for weight in self.model.trainable_variables[:1]:
            np.array(weight)  # waits for the device
        seconds = time.perf_counter() - self._began
        if self._traces and len(self.rates) == self._epochs - 1:
            tf.profiler.experimental.stop()
            self.share = kernel_share(traced(self._traces), seconds)
        self.rates.append(self._images / seconds)


def traced(folder):
    """The planes of a trace that `tf.profiler` left."""
    from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

    file = next(folder.rglob("*.xplane.pb"))
    return XSpace.FromString(file.read_bytes())


def kernel_share(space, seconds):
    """Of so many seconds the fraction in which some kernel ran on a GPU; None of a trace without a GPU.

    Args:
        space: planes of devices, whose lines named `Stream` have an event for each kernel and each copy.
        seconds: that were traced.
    """
    planes = [plane for plane in space.planes if plane.name.startswith("/device:GPU")]
    shares = []
    for plane in planes:
        spans = sorted(
            (line.timestamp_ns * 1000 + event.offset_ps, event.duration_ps)
            for line in plane.lines
            if line.name.startswith("Stream")
            for event in line.events
        )
        busy, end = 0, 0
        for start, duration in spans:  # kernels of several streams overlap
            busy += max(start + duration - max(start, end), 0)
            end = max(end, start + duration)
        shares.append(busy / 1e12 / seconds)
    return sum(shares) / len(shares) if shares else None


def to_accuracy(data, recipe, model, accuracy, largest_epochs):
    """Trains from scratch; seconds behind the first step until validation is so good, or None if it never is."""
    overrides = [f"until={accuracy}"] + ([f"epochs={largest_epochs}"] if largest_epochs else [])
    settings = settled(resolve(model, data, recipe, overrides), ALONE.gpus)
    images = load_images(settings, None, quiet=True)
    settings = settings.in_epochs(len(images.train))
    seed_all(settings)
    watch, began = Watch(len(images.train)), time.perf_counter()
    state = train(compiled_model(settings, images), images, settings, None, quiet=True, callbacks=[watch])
    ended = time.perf_counter()
    best = max(row["val_accuracy"] for row in state.history)
    return {
        "settings": f"{settings.model.name}, {settings.precision}, jit_compile={bool(settings.jit_compile)}",
        "seconds": round(ended - watch.first, 1) if best >= accuracy else None,
        "start_up": round(watch.first - began, 1),
        "epochs": len(state.history),
        "validation_accuracy": round(best, 4),
        "images_a_second": round(float(np.median(watch.rates[1:] or watch.rates))),
    }


def fine_tuning(model, size, count, batch):
    """Images a second of training all of a model on noise, and the share of the time in kernels."""
    epochs = 4
    settings = settled(load_recipe("full", [f"batch_size={batch}", f"epochs={epochs}"], kind="finetune"), ALONE.gpus)
    shape = f"model.input_shape=[{size},{size},3]"
    resolved = resolve(model, "digits", "quick", [shape, f"batch_size={batch}", f"epochs={epochs}"])
    update = {name: getattr(settings, name) for name in ("precision", "jit_compile", "augment", "optimizer")}
    resolved = resolved.model_copy(update=update)
    noise = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    split = Split(noise, np.arange(count) % 10)
    images = load_images(resolve(model, "digits", "quick", ["model.input_shape=[8,8,3]"]), None, quiet=True)
    images = replace(images, train=split, validation=split[:batch], test=split[:batch])
    seed_all(resolved)
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch(count, epochs, Path(folder))
        train(compiled_model(resolved, images), images, resolved, None, quiet=True, callbacks=[watch])
    return {
        "settings": f"{model}, {size} px, batch {batch}, {resolved.precision}, "
        f"jit_compile={bool(resolved.jit_compile)}",
        "images_a_second": round(float(np.median(watch.rates[1:-1])), 1),
        "share_in_kernels": watch.share,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist")
    parser.add_argument("--recipe", default="fashion")
    parser.add_argument("--model", help="the recipe's own if it is left out")
    parser.add_argument("--accuracy", type=float, default=0.938)
    parser.add_argument("--epochs", type=int, help="at most; the recipe's own if it is left out")
    parser.add_argument("--finetune", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    gpus = ALONE.gpus
    found = {
        "device": gpus[0].name if gpus else "no GPU: all figures are of the CPU",
        "to_accuracy": to_accuracy(given.data, given.recipe, given.model, given.accuracy, given.epochs),
        "fine_tuning": fine_tuning(given.finetune, given.size, given.images, given.batch),
    }
    if given.json:
        print(json.dumps(found, indent=1))
        return
    fit, tuning = found["to_accuracy"], found["fine_tuning"]
    share = tuning["share_in_kernels"]
    reached = "not reached" if fit["seconds"] is None else f"in {fit['seconds']} s"
    print(found["device"])
    print(f"{given.recipe} ({fit['settings']}): {given.accuracy:.1%} of the validation images {reached},")
    print(f"  {fit['epochs']} epochs to {fit['validation_accuracy']:.1%}, {fit['images_a_second']:,} images/s, behind")
    print(f"  {fit['start_up']} s of start-up")
    print(f"{tuning['settings']}: {tuning['images_a_second']:,} images/s")
    print("share of time in kernels: " + ("not measured without a GPU" if share is None else f"{share:.0%}"))


if __name__ == "__main__":
    main()
