"""What every layer owes Keras: gradients, mixed precision, saving, open sizes, conversion to TFLite."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import nearly, positive, with_weights

from recipes.data import Split
from recipes.export import convert
from recipes.tflite.file import TFLiteFile
from zoo import layers

# Every layer with settings that are not its defaults, and what they do to a map of 6 x 6 x 4.
WINDOWED = {
    "weighted_average": lambda **k: layers.WeightedAveragePooling2D((2, 3), (1, 2), "same", **k),
    "l2": lambda **k: layers.LpPooling2D(3, 2, "same", 2.0, **k),
    "lp": lambda **k: layers.LpPooling2D((3, 2), (2, 1), "valid", 3.5, **k),
    "median": lambda **k: layers.OrderStatisticPooling2D(2, 2, "valid", "median", **k),
    "rank": lambda **k: layers.OrderStatisticPooling2D(3, 2, "same", -2, **k),
    "stochastic": lambda **k: layers.StochasticPooling2D(3, 2, "same", seed=7, **k),
    "blur_max": lambda **k: layers.BlurPooling2D(2, 2, "valid", "max", 3, **k),
    "blur_average": lambda **k: layers.BlurPooling2D(3, (2, 1), "same", "average", 4, **k),
}
ACROSS = {
    "maxout": lambda **k: layers.Maxout(2, **k),
    "channel_average": lambda **k: layers.ChannelAverage(4, **k),
    "channel_lp": lambda **k: layers.ChannelLp(2, 3.0, **k),
}
WHOLE = {
    "global_lp": lambda **k: layers.GlobalLpPooling2D(3.0, **k),
    "gem": lambda **k: layers.GlobalGeneralizedMeanPooling2D(2.5, 1e-3, **k),
    "attention": lambda **k: layers.GlobalAttentionPooling2D(**k),
    "regions_average": lambda **k: layers.RegionPooling2D((2, 3), "average", **k),
    "regions_max": lambda **k: layers.RegionPooling2D(4, "max", **k),
}
CONVOLUTION = {
    "convolution": lambda **k: layers.Conv2D(3, (3, 2), activation="relu", operation="convolution", **k),
    "cross_correlation": lambda **k: layers.Conv2D(3, 3, padding="same", operation="cross_correlation", **k),
}
FIELDS = {
    "lifting": lambda **k: layers.LiftingConv2D(2, 3, padding="same", group="d4", activation="relu", **k),
    "lifting_fine": lambda **k: layers.LiftingConv2D(1, 3, group="c8", use_bias=False, **k),
    "group_convolution": lambda **k: layers.GroupConv2D(2, 3, group="c4", **k),
    "mirrored_convolution": lambda **k: layers.GroupConv2D(2, (3, 1), group="mirror", **k),
    "field_normalization": lambda **k: layers.FieldNormalization("c4", momentum=0.9, epsilon=1e-2, **k),
    "field_pooling": lambda **k: layers.FieldPooling2D(3, 1, "same", "average", "c4", **k),
    "group_max": lambda **k: layers.GroupPooling("max", "c4", **k),
    "group_average": lambda **k: layers.GroupPooling("average", "mirror", **k),
}
SHIFT = {
    "circular_padding": lambda **k: layers.CircularPadding2D((3, 4), **k),
    "circular_blur": lambda **k: layers.CircularBlur2D(4, **k),
    "polyphase": lambda **k: layers.PolyphaseSampling2D((3, 1), **k),
}
SCALES = {
    "scale_lifting": lambda **k: layers.ScaleLiftingConv2D(2, (0.5, 0.9), **k),
    "scale_convolution": lambda **k: layers.ScaleConv2D(1, (0.5, 0.9), order=1, use_bias=False, **k),
    "scale_normalization": lambda **k: layers.ScaleNormalization(2, momentum=0.9, epsilon=1e-2, **k),
    "scale_max": lambda **k: layers.ScalePooling("max", 2, **k),
    "scale_average": lambda **k: layers.ScalePooling("average", 4, **k),
}
ALL = WINDOWED | ACROSS | WHOLE | CONVOLUTION | FIELDS | SHIFT | SCALES


@pytest.mark.parametrize("name", ALL)
def test_gradients_by_finite_differences(name):
    shape, step = (1, 6, 6, 4), 1e-5
    layer = with_weights(ALL[name](dtype="float64"), shape)
    x = tf.constant(positive(shape) - (0 if name in {"stochastic", "gem"} else 0.3))
    weights = tf.constant(np.random.default_rng(2).normal(size=layer(x).shape))

    def loss(x):
        return tf.reduce_sum(layer(x) * weights, axis=range(1, len(weights.shape)))

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    by_keras, *of_weights = tape.gradient(value, [x, *layer.trainable_variables])
    steps = step * np.eye(by_keras.numpy().size).reshape(-1, *shape[1:])
    numeric = ((loss(x + steps) - loss(x - steps)) / (2 * step)).numpy()
    np.testing.assert_allclose(by_keras.numpy().ravel(), numeric, atol=1e-6)
    for variable, gradient in zip(layer.trainable_variables, of_weights, strict=True):
        start, numeric = variable.numpy(), np.zeros(variable.shape)
        for index in np.ndindex(*variable.shape):
            change = np.zeros(variable.shape)
            change[index] = step
            ahead = (variable.assign(start + change), loss(x))[1]
            behind = (variable.assign(start - change), loss(x))[1]
            numeric[index] = (ahead - behind).numpy().item() / (2 * step)
        variable.assign(start)
        np.testing.assert_allclose(gradient.numpy(), numeric, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ALL)
def test_mixed_precision(name, policy):
    layer = ALL[name](dtype=policy)
    dtype = layer.dtype_policy.compute_dtype
    for x in (500 * positive((2, 6, 6, 4)), np.zeros((2, 6, 6, 4))):  # squares from 256 overflow float16
        x = tf.constant(x, dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True) if name == "stochastic" else layer(x)
            loss = tf.reduce_mean(tf.cast(y, "float32"))
        assert y.dtype == dtype
        assert np.isfinite(tf.cast(y, "float32").numpy()).all()
        for gradient in tape.gradient(loss, [x, *layer.trainable_variables]):
            assert np.isfinite(tf.cast(gradient, "float32").numpy()).all()
    assert all(v.dtype == "float32" for v in layer.trainable_variables)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras' own
@pytest.mark.parametrize("name", ALL)
def test_saving_and_loading(name, tmp_path):
    layer = with_weights(ALL[name](name=name), (None, 6, 6, 4))
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    image = keras.Input((6, 6, 4))
    model = keras.Model(image, layer(image))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = positive((2, 6, 6, 4))
    np.testing.assert_array_equal(loaded(x, training=False), model(x, training=False))
    assert type(loaded.get_layer(name)) is type(layer)


@pytest.mark.parametrize("name", ALL)
def test_open_sizes(name):
    layer = ALL[name]()
    image = keras.Input((None, None, 4))
    model = keras.Model(image, layer(image))
    for size in ((6, 6), (9, 7)):
        x = positive((2, *size, 4))
        y = model(x, training=False)
        assert y.shape == layer.compute_output_shape(x.shape)
        nearly(y, layer(x, training=False).numpy() if name == "stochastic" else layer(x).numpy())
        assert all(known in (None, n) for known, n in zip(model.output_shape, y.shape, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("to", ["float32", "int8"])
@pytest.mark.parametrize("name", ALL)
def test_conversion_to_tflite_builtins(name, to, tmp_path):
    agrees_as_tflite({name: ALL[name]}, to, tmp_path)


@pytest.mark.slow
def test_conversion_to_tflite_builtins_of_all_at_once(tmp_path):
    agrees_as_tflite(ALL, "float32", tmp_path)


def agrees_as_tflite(makers, to, folder):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 6, 6, 4)).astype("uint8")
    image = keras.Input((6, 6, 4))
    x = keras.layers.Rescaling(1 / 255)(image)
    outputs = [with_weights(make(), (None, 6, 6, 4))(x) for make in makers.values()]
    flat = [keras.layers.Flatten()(y) for y in outputs]
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    model = keras.Model(image, joined)
    file = folder / "model.tflite"
    file.write_bytes(convert(model, to, Split(images, np.arange(40) % 2)))  # raises where a builtin is missing
    expected = model.predict(images[:8], verbose=0)
    received = TFLiteFile(file).predict(images[:8])
    np.testing.assert_allclose(received, expected, atol=1e-5 if to == "float32" else 0.06 * np.ptp(expected))
