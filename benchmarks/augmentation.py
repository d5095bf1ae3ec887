"""How fast the one warp is beside other tools, how sharp, and what it leaves of a training's speed.

    python benchmarks/augmentation.py [--part speed|sharpness|fit]... [--size HxWxC]... [--rounds N] [--json]

Every image is scaled, shifted, rotated and mirrored at random. The tools run in turn in one process, round after
round, so that whatever else the machine does falls on all of them; ratios are of the same round. OpenCV,
Albumentations and Kornia take part if they are installed:
pip install opencv-python-headless albumentations kornia torch.
"""

import argparse
import json
import math
import os
import sys
import time
import warnings
from pathlib import Path
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import rivals

from recipes.support.quiet import import_keras

keras = import_keras()
import tensorflow as tf  # noqa: E402

from recipes.augment.pipeline import Affine, affine_matrices  # noqa: E402
from recipes.augment.warp import warp  # noqa: E402

BATCH = 128
SIZES = {"28x28x1": (28, 28, 1), "32x32x3": (32, 32, 3), "224x224x3": (224, 224, 3)}
RANGES = Affine(scale=(0.8, 1.2), translation=0.1, rotation=30, horizontal_flip=True, fill="reflect")
RIVALS = {
    "keras": rivals.keras_layers,
    "cv2": rivals.opencv,
    "kornia": rivals.kornia,
    "albumentations": rivals.albumentations,
    "albumentations_2_threads": rivals.albumentations_2_threads,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["speed", "sharpness", "fit"], action="append")
    parser.add_argument("--size", choices=list(SIZES), action="append", help="of the speed part; all if left out")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    parts = arguments.part or ["speed", "sharpness", "fit"]
    result = {}
    if "speed" in parts:
        result |= speed(arguments.rounds, arguments.size or list(SIZES))
    if "sharpness" in parts:
        result["psnr"] = sharpness()
    if "fit" in parts:
        result["fit"] = fit_speed(arguments.rounds)
    print(json.dumps(result, indent=1) if arguments.json else as_text(result))


def spread(values):
    return {"min": round(min(values), 3), "median": round(median(values), 3), "max": round(max(values), 3)}


def one_warp(images, interpolation="bilinear"):
    ranges, batch = RANGES.model_copy(update={"interpolation": interpolation}), tf.constant(images)
    return rivals.in_tf_data(lambda number: ranges(batch, ranges.draw(BATCH, tf.stack([number, number]))))


def speed(rounds, sizes):
    """Images/s of every tool, and how many times the warp's rate is theirs."""
    rates, ratios, missing = {}, {}, {}
    for size in sizes:
        shape = SIZES[size]
        images = np.random.default_rng(0).integers(0, 256, (BATCH, *shape), np.uint8)
        tools = {"warp": one_warp(images), "warp_bicubic": one_warp(images, "bicubic")}
        for name, build in RIVALS.items():
            try:
                tools[name] = build(images)
            except ImportError as error:
                missing[name] = f"not installed: {error.name}"
        seconds = {name: [] for name in tools}
        counts = {name: _count(run) for name, run in tools.items()}
        for _ in range(rounds):
            for name, run in tools.items():
                seconds[name].append(_seconds(run, counts[name]) / counts[name])
        rates[size] = {name: spread([BATCH / s for s in values]) for name, values in seconds.items()}
        for name, values in seconds.items():
            if name != "warp":
                paired = [theirs / ours for theirs, ours in zip(values, seconds["warp"], strict=True)]
                ratios.setdefault(name, {})[size] = spread(paired)
    medians = {
        f"ratio_to_{name}": {size: values["median"] for size, values in by_size.items()}
        for name, by_size in ratios.items()
    }
    return {**medians, "ratios": ratios, "images_per_second": rates, "missing": missing}


def _count(run, least=0.6):
    """How many batches take at least that many seconds: enough for the start of an iterator not to count."""
    run(4)  # traces and compiles
    count = 4
    while (seconds := _seconds(run, count)) < least:
        count = math.ceil(count * min(10, 1.3 * least / seconds))
    return count


def _seconds(run, count):
    began = time.perf_counter()
    run(count)
    return time.perf_counter() - began


def sharpness(images=8, supersampled=4):
    """PSNR (dB) against the same motion of the image at `supersampled` times the resolution, area-averaged down.

    Both ways start from the same small image. Only the inner disc that no draw moves out of sight is
    compared, so what appears at the border plays no part.
    """
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(0)
    result = {}
    for size in (32, 224):
        errors = {"one_warp": [], "one_warp_bicubic": [], "four_steps": [], "keras_chain": []}
        fine = size * supersampled
        radius = np.hypot(*np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j])
        inner = (radius < 0.6)[None, :, :, None]
        for photograph in load_sample_images().images:
            side = min(photograph.shape[:2])
            square = tf.image.resize(photograph[:side, :side][None], (fine, fine), antialias=True).numpy()
            large = np.repeat(square, images, axis=0)
            small = tf.cast(tf.round(tf.nn.avg_pool2d(large, supersampled, supersampled, "VALID")), tf.uint8)
            motion = {
                "scale": generator.uniform(0.9, 1.2, images),
                "angle": generator.uniform(-30, 30, images),
                "shift_x": generator.uniform(-0.1, 0.1, images),
                "shift_y": generator.uniform(-0.1, 0.1, images),
                "flip_x": np.where(generator.random(images) < 0.5, -1.0, 1.0),
            }
            truth = warp(large, _motion(motion, fine), fill="reflect", interpolation="bicubic")
            truth = tf.nn.avg_pool2d(truth, supersampled, supersampled, "VALID").numpy()
            ways = {
                "one_warp": warp(small, _motion(motion, size), fill="reflect"),
                "one_warp_bicubic": warp(small, _motion(motion, size), fill="reflect", interpolation="bicubic"),
                "four_steps": _four_steps(motion, small),
                "keras_chain": _keras_steps(motion, small),
            }
            for name, pixels in ways.items():
                squared = (np.asarray(pixels, np.float32) - truth) ** 2
                errors[name].append((squared * inner).sum(axis=(1, 2, 3)) / (3 * inner.sum()))
        result[f"{size}x{size}x3"] = {
            name: spread([10 * math.log10(255**2 / e) for e in np.concatenate(values)])
            for name, values in errors.items()
        }
    return result


def _motion(motion, size):
    factors = {"shift_x": size, "shift_y": size}
    arguments = {name: (values * factors.get(name, 1)).astype(np.float32) for name, values in motion.items()}
    return affine_matrices(**arguments, height=size, width=size)


def _four_steps(motion, small):
    """A resampling each for the flip, the scale, the rotation and the shift, with our exact centres."""
    pixels = small
    for names in (("flip_x",), ("scale",), ("angle",), ("shift_x", "shift_y")):
        step = {name: motion[name] for name in names}
        pixels = warp(pixels, _motion(step, small.shape[1]), fill="reflect")
    return pixels


def _keras_steps(motion, small):
    """The same by Keras' own layers, one image at a time, their ranges narrowed to the one value."""
    results = []
    for i, image in enumerate(small):
        zoom, angle = 1 / motion["scale"][i] - 1, motion["angle"][i] / 360
        x, y = motion["shift_x"][i], motion["shift_y"][i]
        pixels = tf.cast(image[None], tf.float32)
        pixels = pixels[:, :, ::-1] if motion["flip_x"][i] < 0 else pixels
        for layer in (
            keras.layers.RandomZoom((zoom, zoom), (zoom, zoom)),
            keras.layers.RandomRotation((angle, angle)),
            keras.layers.RandomTranslation((y, y), (x, x)),
        ):
            pixels = layer(pixels, training=True)
        results.append(pixels)
    return tf.concat(results, axis=0)


def fit_speed(rounds, steps=60):
    """Fraction of a LeNet's examples/s at 32x32x3 that is left with augmentation, in `fit`."""
    images = np.random.default_rng(0).integers(0, 256, (BATCH * 20, 32, 32, 3), np.uint8)
    labels = tf.constant(np.arange(len(images)) % 10)
    pixels = tf.constant(images)
    chain = rivals.keras_chain()
    changes = {
        "plain": lambda batch, number: batch,
        "warp": lambda batch, number: RANGES(batch, RANGES.draw(BATCH, tf.stack([number, number]))),
        "keras": lambda batch, number: chain(batch, training=True),
    }

    def endless(change):
        def batch(number):
            rows = tf.random.stateless_uniform([BATCH], tf.stack([number, 7]), 0, len(images), tf.int32)
            return change(tf.gather(pixels, rows), number), tf.gather(labels, rows)

        options = tf.data.Options()
        options.autotune.enabled = False
        batches = tf.data.Dataset.range(10**9).map(batch, num_parallel_calls=2, deterministic=True)
        return batches.prefetch(4).with_options(options)

    from zoo import create_model

    rates = {name: [] for name in changes}
    models = {name: create_model("lenet5", input_shape=(32, 32, 3), classes=10) for name in changes}
    sources = {name: endless(change) for name, change in changes.items()}
    for model in models.values():
        model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    for number in range(rounds + 1):
        for name, model in models.items():
            clock = _StepClock()
            model.fit(sources[name], steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[clock])
            if number:  # the first traces and compiles
                rates[name].append(clock.rate)
    kept = {
        name: spread([a / b for a, b in zip(rates[name], rates["plain"], strict=True)]) for name in ("warp", "keras")
    }
    return {"share_kept": kept, "images_per_second": {name: spread(values) for name, values in rates.items()}}


class _StepClock(keras.callbacks.Callback):
    """Examples/s between the tenth step and the last: without the start of an iterator and of `fit`."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 9:
            self._began = time.perf_counter()
        elif batch > 9:
            self.rate = BATCH * (batch - 9) / (time.perf_counter() - self._began)


def as_text(result):
    lines = []
    for name, sizes in result.get("ratios", {}).items():
        cells = [f"{size} {v['median']:.2f} ({v['min']:.2f}-{v['max']:.2f})" for size, v in sizes.items()]
        lines.append(f"warp / {name:25} {'   '.join(cells)}")
    for size, tools in result.get("images_per_second", {}).items():
        lines += [f"{size} {name:25} {v['median']:>10,.0f} images/s" for name, v in tools.items()]
    lines += [f"{name}: {why}" for name, why in result.get("missing", {}).items()]
    for size, ways in result.get("psnr", {}).items():
        lines += [f"{size} {name:25} {v['median']:.2f} dB ({v['min']:.2f}-{v['max']:.2f})" for name, v in ways.items()]
    for name, v in result.get("fit", {}).get("share_kept", {}).items():
        lines.append(f"fit keeps with {name:10} {v['median']:.0%} ({v['min']:.0%}-{v['max']:.0%})")
    return "\n".join(lines)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
