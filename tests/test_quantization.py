"""A model that rounds as an integer file does, and the file that is made of it: the same network, layer by layer."""

import math

import numpy as np
import pytest

import zoo
from recipes.data import Split
from recipes.export import convert
from recipes.tflite.graph import read_graph
from zoo.backend import keras
from zoo.decomposition import decomposed
from zoo.errors import RequestError
from zoo.layers import (
    BlurPooling2D,
    CircularBlur2D,
    CircularPadding2D,
    CopyPooling,
    FieldNormalization,
    FieldPooling2D,
    GroupConv2D,
    GroupPooling,
    ImageCopies,
    LiftingConv2D,
    LocallyConnected2D,
    Maxout,
    RegionPooling2D,
    ScaleConv2D,
    ScaleLiftingConv2D,
    ScaleNormalization,
    ScalePooling,
    TableConv2D,
)
from zoo.layers.quantized import rounded_twice, scale_and_zero
from zoo.quantization import quantized
from zoo.ranges import calibrate, settle

layers = keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), np.uint8)


def conv(x, filters=6, **settings):
    return layers.Conv2D(filters, 3, **settings)(x)


def activated(name):
    return lambda x: layers.Activation(name)(conv(x))


class CustomScaleLayer(layers.Layer):
    """As Inception-ResNet has it in `keras.applications`, where it is not public."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs):
        return inputs[0] + inputs[1] * self.scale


def beside(x):
    return layers.Concatenate()([x, conv(x, padding="same", activation="relu"), layers.MaxPooling2D(3, 1, "same")(x)])


def excited(x):
    """As in MobileNetV3."""
    gate = layers.Conv2D(6, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Multiply()([x, layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)])


# What each kind of layer is tried in: from an image to a map or a vector.
KINDS = {
    "Conv2D": lambda x: conv(x, padding="same", activation="relu"),
    "Conv2D and BatchNorm": lambda x: layers.ReLU(6)(layers.BatchNormalization()(conv(x, use_bias=False, strides=2))),
    "DepthwiseConv2D": lambda x: layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x),
    "DepthwiseConv2D and BatchNorm": lambda x: layers.Activation("relu6")(
        layers.BatchNormalization()(layers.DepthwiseConv2D(3, use_bias=False)(x))
    ),
    "BatchNorm alone and ReLU": lambda x: layers.ReLU()(layers.BatchNormalization()(layers.MaxPooling2D()(conv(x)))),
    "BatchNorm alone": lambda x: layers.BatchNormalization()(layers.MaxPooling2D()(conv(x))),
    "Dense": lambda x: layers.Dense(12, activation="relu")(layers.Flatten()(x)),
    "MaxPooling2D": lambda x: layers.MaxPooling2D(2)(conv(x)),
    "AveragePooling2D": lambda x: layers.AveragePooling2D(2)(conv(x)),
    "GlobalAveragePooling2D": lambda x: layers.GlobalAveragePooling2D()(conv(x)),
    "GlobalMaxPooling2D": lambda x: layers.GlobalMaxPooling2D()(conv(x)),
    "ZeroPadding2D": lambda x: conv(layers.ZeroPadding2D(1)(conv(x))),
    "Add": lambda x: layers.ReLU()(layers.Add()([conv(x), conv(x)])),
    "Multiply": lambda x: layers.Multiply()([conv(x), conv(x, activation="sigmoid")]),
    "tanh": activated("tanh"),
    "sigmoid": activated("sigmoid"),
    "silu": activated("silu"),
    "leaky_relu": activated("leaky_relu"),
    "hard_silu": activated("hard_silu"),
    "gelu": activated("gelu"),
    "Concatenate": lambda x: layers.Concatenate()([conv(x), conv(x, activation="relu")]),
    "Concatenate of what others use": lambda x: beside(conv(x)),
    "Concatenate of a Concatenate": lambda x: layers.Concatenate()([conv(x), layers.Concatenate()([conv(x), conv(x)])]),
    "SeparableConv2D and BatchNorm": lambda x: layers.ReLU()(
        layers.BatchNormalization()(layers.SeparableConv2D(5, 3, padding="same", use_bias=False)(x))
    ),
    "LocallyConnected2D": lambda x: LocallyConnected2D(4, 3, activation="relu")(x),
    "LocallyConnected2D and tanh": lambda x: LocallyConnected2D(4, 3, 2, activation="tanh")(x),
    "TableConv2D": lambda x: TableConv2D(((0, 1), (1, 2), (0, 2), (0, 1, 2)), 3)(x),
    "Normalization": lambda x: conv(layers.Normalization(mean=(0.4, 0.5, 0.6), variance=(0.05, 0.06, 0.07))(x)),
    "Cropping2D": lambda x: layers.Cropping2D(1)(conv(x)),
    "Flip": lambda x: conv(keras.ops.flip(x, axis=-1)),
    "Pad": lambda x: keras.ops.pad(conv(x), ((0, 0), (0, 0), (0, 0), (1, 2))),
    "a scaled sum": lambda x: CustomScaleLayer(0.17)([conv(x), conv(x)]),
    "copies": lambda x: CopyPooling()(layers.Dense(7)(layers.Flatten()(conv(ImageCopies()(x))))),
    "CircularPadding2D": lambda x: conv(CircularPadding2D(3)(conv(x))),
    "CircularBlur2D": lambda x: CircularBlur2D(3)(conv(x)),
    "BlurPooling2D": lambda x: conv(BlurPooling2D(1, 2)(BlurPooling2D(2, 1)(conv(x)))),
    "RegionPooling2D": lambda x: RegionPooling2D(2, "max")(conv(x)),
    "RegionPooling2D of means": lambda x: RegionPooling2D(2, "average")(conv(x)),
    "Maxout": lambda x: Maxout(2)(conv(x)),
    "a group with a basis": lambda x: GroupPooling(group="c8")(
        GroupConv2D(3, 3, group="c8")(FieldNormalization("c8")(LiftingConv2D(3, 3, group="c8")(x)))
    ),
    "scales and tanh": lambda x: layers.Activation("tanh")(
        ScaleNormalization()(ScaleConv2D(3)(ScaleLiftingConv2D(3, activation="relu")(x)))
    ),
    "scales": lambda x: ScalePooling()(
        layers.ReLU()(
            ScaleNormalization()(
                ScaleConv2D(3, use_bias=False)(layers.MaxPooling2D()(ScaleLiftingConv2D(3, (0.5, 0.8, 1.25))(x)))
            )
        )
    ),
    "squeeze and excitation": lambda x: excited(conv(x)),
    "FieldNormalization alone": lambda x: GroupConv2D(3, 3)(
        layers.ReLU()(FieldNormalization()(layers.MaxPooling2D()(LiftingConv2D(3, 3)(x))))
    ),
    "a group": lambda x: GroupPooling()(
        layers.ReLU()(
            FieldNormalization()(GroupConv2D(3, 3)(FieldPooling2D()(LiftingConv2D(3, 3, activation="relu")(x))))
        )
    ),
}


def made(kind, scale=1 / 127.5, offset=-1.0):
    """A small model with this kind of layer, every weight of it drawn."""
    keras.utils.set_random_seed(1)
    image = keras.Input((8, 8, 3))
    scores = layers.Dense(5, name="logits")(layers.Flatten()(KINDS[kind](layers.Rescaling(scale, offset)(image))))
    model = keras.Model(image, layers.Activation("softmax", name="scores")(scores))
    draw = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([draw.uniform(0.5, 2, value.shape) for value in layer.get_weights()])
    return model


def as_file(model, scores_of, **settings):
    calibrate(model, [IMAGES[:100].astype(np.float32)])
    settle(model)
    content = convert(model, "int8", Split(IMAGES, np.zeros(len(IMAGES), int)), **settings)
    return content, scores_of(content)


def scores_in_file(content):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for image in IMAGES:
        interpreter.set_tensor(given, image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(made)[0] / 256)
    return np.array(found)


PIXELS = {"Normalization": (1 / 255, 0.0)}  # as in EfficientNet, where it is used
QUICK = (
    "Conv2D and BatchNorm",
    "Dense",
    "AveragePooling2D",
    "Add",
    "Concatenate of what others use",
)  # the others take as long as these


@pytest.mark.parametrize(
    "kind", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in KINDS]
)
def test_file_is_the_same_network(kind):
    model = made(kind, *PIXELS.get(kind, ()))
    twin = quantized(model)
    content, scores = as_file(twin, scores_in_file)
    expected = twin.predict(IMAGES, verbose=0)
    apart = np.abs(scores - expected).max(axis=1) * 256  # steps of the output
    assert (apart < 1.01).mean() >= 0.99, f"{kind}: {np.sort(apart)[-5:]}"
    assert not any(tensor.dtype == "float32" for tensor in read_graph(content).tensors)
    assert np.abs(expected - model.predict(IMAGES, verbose=0)).max() < 0.2


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1 / 255, 0.0), (1 / 128, -127 / 128), (1.275 / 255, -0.1)])
def test_pixels_stay_the_integers_that_they_are(scale, offset):
    twin = quantized(made("Dense", scale, offset))
    _, scores = as_file(twin, scores_in_file)
    assert (np.abs(scores - twin.predict(IMAGES, verbose=0)).max(axis=1) * 256 < 1.01).mean() >= 0.99


def test_four_bits_have_fifteen_levels():
    twin = quantized(made("Conv2D"), bits=4)
    layer = next(layer for layer in twin.layers if layer.name.startswith("conv2d") and hasattr(layer, "rounded"))
    kernel = np.array(layer.rounded())
    assert all(len(np.unique(np.round(kernel[..., channel], 6))) <= 15 for channel in range(kernel.shape[-1]))


@pytest.mark.parametrize(
    "kind",
    ["Conv2D", "Dense", *(pytest.param(k, marks=pytest.mark.slow) for k in ("DepthwiseConv2D", "BlurPooling2D"))],
)
def test_four_bits_are_in_the_file(kind):
    twin = quantized(made(kind), bits=4)
    content, scores = as_file(twin, scores_in_file)
    weights = [tensor for tensor in read_graph(content).tensors if tensor.dtype == "int4"]
    assert len(weights) == sum(getattr(layer, "bits", 8) == 4 for layer in twin.layers)
    apart = np.abs(scores - twin.predict(IMAGES, verbose=0)).max(axis=1) * 256
    assert (apart < 1.01).mean() >= 0.99


def by_the_book(total, factor, away):
    """A sum times a factor in whole numbers, as Jacob and others 2018 have it (section 2.2)."""
    fraction, exponent = math.frexp(factor)
    product = (total * round(fraction * 2**31) + 2**30) >> 31
    half = 1 << -exponent >> 1
    return -(-product + half >> -exponent) if away and product < 0 else product + half >> -exponent


def test_sums_are_rounded_twice():
    sums, factors = np.arange(-3000, 3000), (0.013, 0.031, 0.25, 0.49, 2**-5, 0.013, 0.25)
    found = np.array(rounded_twice(np.stack([sums] * len(factors), axis=-1) * 1.0, np.array(factors), away=2))
    expected = [[by_the_book(int(one), factor, n > 4) for n, factor in enumerate(factors)] for one in sums]
    np.testing.assert_array_equal(found, expected)
    assert (found != np.round(sums[:, None] * factors)).mean() > 0.01


# One layer alone, between pixels and scores.
ALONE = {
    "Conv2D": lambda x: layers.Conv2D(13, 3, name="tried")(x),
    "Conv2D of one place": lambda x: layers.Conv2D(16, 1, 2, name="tried")(x),
    "Conv2D of groups": lambda x: layers.Conv2D(6, 3, groups=3, name="tried")(x),
    "DepthwiseConv2D": lambda x: layers.DepthwiseConv2D(3, depth_multiplier=4, name="tried")(x),
    "ScaleConv2D": lambda x: ScaleConv2D(5, (0.5, 0.8, 1.25), name="tried")(layers.Conv2D(6, 1)(x)),
    "a map's factor": lambda x: FieldNormalization(name="tried")(layers.MaxPooling2D()(conv(x, 12))),
    "Dense of an even number": lambda x: layers.Dense(16, name="tried")(layers.Flatten()(x)),
    "Dense of an odd number": lambda x: layers.Dense(16, name="tried")(x),
    "Add": lambda x: layers.Add(name="tried")([conv(x, 300), conv(x, 300)]),
    "Add and ReLU": lambda x: layers.ReLU()(layers.Add(name="tried")([conv(x, 300), conv(x, 300)])),
    "leaky_relu": lambda x: layers.Activation("leaky_relu", name="tried")(conv(x)),
    "Multiply": lambda x: layers.Multiply(name="tried")([conv(x, 60), conv(x, 60, activation="sigmoid")]),
}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ALONE)
def test_a_layer_gives_the_integers_of_the_file(kind, bits):
    keras.utils.set_random_seed(6)  # by which sums and products come to halves
    image = keras.Input((8, 8, 3))
    twin = quantized(keras.Model(image, ALONE[kind](layers.Rescaling(1 / 255)(image))), bits=bits)
    _, values = as_file(twin, scores_in_file)
    last = twin.get_layer("tried_scales").range if kind == "ScaleConv2D" else twin.get_layer("tried_range")
    scale, zero = (float(value) for value in scale_and_zero(last.low, last.high))
    levels = np.array(twin(IMAGES * 1.0)) / scale + zero + 128  # the file's are uint8
    np.testing.assert_array_equal(np.round(levels), np.round(values * 256))


@pytest.mark.parametrize("kind", ["Add and ReLU", "Multiply", "leaky_relu"])
def test_scales_are_saved(kind, tmp_path):
    image = keras.Input((8, 8, 3))
    twin = quantized(keras.Model(image, ALONE[kind](layers.Rescaling(1 / 255)(image))))
    calibrate(twin, [IMAGES[:100].astype(np.float32)])
    settle(twin)
    twin.save(tmp_path / "twin.keras")
    again = keras.models.load_model(tmp_path / "twin.keras")
    np.testing.assert_array_equal(again(IMAGES * 1.0), twin(IMAGES * 1.0))
    assert again.get_layer("tried").scales == twin.get_layer("tried").scales != ()


@pytest.mark.parametrize("bits", [8, 4])
def test_scales_are_those_of_the_file_to_the_last_bit(bits):
    """A sum that comes to a half is rounded by the last bit of its scale."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(200, 3, activation="relu")(layers.Rescaling(1 / 255)(image))
    for _ in range(4):
        x = layers.Conv2D(100, 1)(layers.DepthwiseConv2D(3, padding="same")(x))
    twin = quantized(keras.Model(image, layers.Dense(200)(layers.Flatten()(x))), bits=bits)
    content, _ = as_file(twin, len)
    graph = read_graph(content)
    weighted = [one for one in graph.operators if one.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")]
    trained = [layer for layer in twin.layers if hasattr(layer, "scales_in_file")]
    for layer, operator in zip(trained, weighted, strict=True):
        given, kernel, made = (graph.tensors[i].scales for i in (*operator.inputs[:2], *operator.outputs))
        np.testing.assert_array_equal(np.array(layer.scales_in_file()), np.float32(kernel))
        assert (float(layer.input_scale), layer.output_scale) == (given[0], made[0])


def test_what_has_no_integer_twin_is_named():
    image = keras.Input((8, 8, 3))
    scores = layers.Dense(5)(layers.Flatten()(layers.LayerNormalization(name="odd")(image)))
    with pytest.raises(RequestError, match="the layer odd is a LayerNormalization, for which there is no integer twin"):
        quantized(keras.Model(image, scores))
    model = quantized(made("Conv2D"))
    with pytest.raises(RequestError, match="as an integer file does already"):
        quantized(model)


def test_clipped_ranges_have_less_error():
    wide, clipped = quantized(made("Conv2D")), quantized(made("Conv2D"))
    images = [IMAGES[:50].astype(np.float32)]
    calibrate(wide, images)
    calibrate(clipped, images, clip=True)
    highs = [[float(layer.high) for layer in m.layers if getattr(layer, "fixed", 0) is None] for m in (wide, clipped)]
    assert all(narrow <= full for full, narrow in zip(*highs, strict=True))


# Of architectures as they come, with the layer that has no integer twin.
EXCEPTIONS = {
    **dict.fromkeys([f"keras_convnext_{size}" for size in ("tiny", "small", "base", "large", "xlarge")], "LayerNorm"),
}
TOO_DEEP = ("keras_efficientnet_v2_l",)  # for Python's recursion, which cloning goes by
SMALL = ("lenet1", "locally_connected", "p4_cnn", "pebble", "resnet20", "rosette_c8")
SMALL += ("keras_mobilenet_v3_small", "scale_cnn", "squeezenet1_1", "z2_cnn")


@pytest.mark.parametrize(
    "name",
    [
        name if name in SMALL else pytest.param(name, marks=pytest.mark.slow)
        for name in zoo.list_models()
        if name not in TOO_DEEP
    ],
)
def test_every_architecture_has_an_integer_twin(name):
    size = 96 if "inception" in name or name == "keras_xception" else 64 if name == "alexnet" else 32
    model = zoo.create_model(name, input_shape=(size, size, 3), classes=10, weights=None)
    if name in EXCEPTIONS:
        with pytest.raises(RequestError, match=EXCEPTIONS[name]):
            quantized(model)
        return
    twin = quantized(model)
    assert twin.output_shape == model.output_shape
    images = np.random.default_rng(0).integers(0, 256, (4, size, size, 3)).astype(np.float32)
    calibrate(twin, [images])
    assert np.isfinite(twin(images, training=False)).all()


@pytest.mark.parametrize("settings", [{"symmetry": "c4"}, {"antialias": True}, {"pooling": "pyramid"}])
def test_options_have_twins(settings):
    twin = quantized(zoo.create_model("resnet8", input_shape=(32, 32, 3), classes=10, weights=None, **settings))
    assert twin.output_shape == (None, 10)


@pytest.mark.parametrize(
    "kind", ["SeparableConv2D and BatchNorm", "Normalization", "Flip", "a scaled sum", "scales", "scales and tanh"]
)
def test_what_is_taken_apart_computes_the_same(kind):
    model = made(kind)
    apart = decomposed(model)
    assert [layer.name for layer in apart.layers] != [layer.name for layer in model.layers]
    np.testing.assert_allclose(apart(IMAGES[:9] * 1.0), model(IMAGES[:9] * 1.0), atol=1e-5)
