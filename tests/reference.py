"""Numbers to try layers with, and NumPy's own windows to hold them against."""

import keras
import numpy as np

PRECISION = {"float64": 1e-12, "float32": 1e-5, "float16": 4e-3, "bfloat16": 3e-2}


def positive(shape, seed=0):
    """Values 0.05 to 1 that all differ: no ties for ranks and maxima to depend on."""
    count = int(np.prod(shape))
    return np.random.default_rng(seed).permutation(np.linspace(0.05, 1, count)).reshape(shape)


def with_weights(layer, shape):
    """The layer, built, with weights that are not where they start."""
    layer.build(shape)
    rng = np.random.default_rng(1)
    layer.set_weights([w + rng.normal(0, 0.5, w.shape) for w in layer.get_weights()])
    return layer


def settled(model, seed=0):
    """Gives all weights values that a training could: statistics, scales and biases are not 0 and 1."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        kind = weight.path.split("/")[-1]
        if kind in ("gamma", "moving_variance"):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif kind in ("beta", "bias", "moving_mean"):
            weight.assign(0.1 * random.normal(size=weight.shape))
    return model


def margins(size, pool, stride):
    total = max((-(-size // stride) - 1) * stride + pool - size, 0)
    return total // 2, total - total // 2


def windows(x, pool, strides, padding, **pad):
    """(B, h, w, C, *pool): NumPy's own windows, NaN outside the image unless `pad` says otherwise."""
    if padding == "same":
        both = [margins(n, p, s) for n, p, s in zip(x.shape[1:3], pool, strides, strict=True)]
        x = np.pad(x, [(0, 0), *both, (0, 0)], **(pad or {"constant_values": np.nan}))
    return np.lib.stride_tricks.sliding_window_view(x, pool, (1, 2))[:, :: strides[0], :: strides[1]]


def nearly(received, expected, dtype="float32"):
    received = keras.ops.convert_to_numpy(keras.ops.cast(received, "float64"))
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=PRECISION[dtype], atol=PRECISION[dtype])
