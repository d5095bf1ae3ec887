"""Subsampling behind a blur, and on places that follow a circular shift: layers, architectures, exported files."""

import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import nearly, positive

import zoo
from cli import commands
from recipes.data import Split
from recipes.evaluate.symmetry import measure_symmetry, symmetry_of_model
from recipes.export import convert
from recipes.tflite.file import TFLiteFile
from recipes.tflite.graph import read_graph
from zoo import layers
from zoo.errors import FailureError, RequestError
from zoo.groups import symmetry_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
FEW = settings(max_examples=25, deadline=None, derandomize=True)
SUBSAMPLING = [card for card in map(zoo.get_card, zoo.list_models()) if card.subsamples]
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 6))


def maps(sizes, seed=0, channels=2, count=2):
    return positive((count, *sizes, channels), seed) - 0.4


def blurred(x, size):
    """NumPy's blur of a map that goes on around."""
    row = np.array([1.0])
    for _ in range(size - 1):
        row = np.convolve(row, [0.5, 0.5])
    around = np.pad(x, [(0, 0), *2 * [((size - 1) // 2, size // 2)], (0, 0)], "wrap")
    windows = np.lib.stride_tricks.sliding_window_view(around, (size, size), (1, 2))
    return (windows * np.outer(row, row)).sum((-1, -2))


# ---- layers ------------------------------------------------------------------------------------------------------


@FEW
@given(SIZES, st.tuples(st.integers(1, 8), st.integers(1, 8)))
def test_circular_padding_is_numpys(sizes, window):
    x = maps(sizes)
    margins = [((n - 1) // 2, n // 2) for n in window]
    layer = layers.CircularPadding2D(window)
    nearly(layer(x), np.pad(x, [(0, 0), *margins, (0, 0)], "wrap"))
    assert layer.compute_output_shape(x.shape) == layer(x).shape


@FEW
@given(SIZES, st.integers(1, 7))
def test_circular_blur_against_numpy(sizes, filter_size):
    x = maps(sizes)
    nearly(layers.CircularBlur2D(filter_size)(x), blurred(x, filter_size))


@FEW
@given(SIZES, st.tuples(st.integers(1, 3), st.integers(1, 4)), st.integers(0, 99))
def test_the_component_with_the_largest_norm_is_kept(sizes, strides, seed):
    x = maps([n * s for n, s in zip(sizes, strides, strict=True)], seed)
    parts = [x[:, i :: strides[0], j :: strides[1]] for i in range(strides[0]) for j in range(strides[1])]
    norms = np.stack([(part**2).sum((1, 2, 3)) for part in parts], 1)
    kept, chosen = layers.PolyphaseSampling2D(strides)(x), layers.PolyphaseChoice2D(strides)(x).numpy()
    for image in range(len(x)):
        best = chosen[image].argmax()
        assert sorted(chosen[image]) == [0] * (len(parts) - 1) + [1]
        assert norms[image, best] >= norms[image].max() * (1 - 1e-3)  # values are rounded to steps
        nearly(kept[image], parts[best][image])


@FEW
@given(SIZES, st.integers(2, 3), st.tuples(st.integers(0, 20), st.integers(0, 20)), st.integers(0, 99))
def test_what_is_kept_moves_with_every_circular_shift(sizes, stride, shift, seed):
    x = maps([n * stride for n in sizes], seed, count=1)
    layer = layers.PolyphaseSampling2D(stride)
    before, after = layer(x).numpy(), layer(np.roll(x, shift, (1, 2))).numpy()
    assert any(
        np.array_equal(np.roll(before, (down, right), (1, 2)), after)
        for down in range(before.shape[1])
        for right in range(before.shape[2])
    )


def test_two_maps_are_sampled_on_the_same_places():
    x, other = maps((4, 4), 1), maps((4, 4), 2)
    chosen = layers.PolyphaseChoice2D()(x)
    kept = layers.PolyphaseSampling2D()(other, chosen).numpy()
    for image in range(2):
        i, j = divmod(int(chosen[image].numpy().argmax()), 2)
        np.testing.assert_array_equal(kept[image], other[image, i::2, j::2].astype("float32"))


def test_sums_that_wrap_around_follow_shifts_all_the_same():
    x = 1e4 * maps((8, 8), count=1)
    layer = layers.PolyphaseSampling2D()
    before, after = layer(x).numpy(), layer(np.roll(x, 2, 1)).numpy()
    np.testing.assert_array_equal(np.roll(before, 1, 1), after)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.CircularBlur2D(8), "1 to 7"),
        (lambda: layers.CircularPadding2D(0), "whole numbers from 1"),
        (
            lambda: layers.PolyphaseSampling2D(2, name="half")(np.zeros((1, 5, 4, 1))),
            "half: .*5x4, nearest to 5: 4 or 6",
        ),
    ],
)
def test_what_layers_refuse(make, words):
    with pytest.raises(RequestError, match=words):
        make()


# ---- architectures -----------------------------------------------------------------------------------------------


def made(card, **options):
    """A model for the smallest image that its strides allow, without the time that weights take."""
    own = {"pooling": "average", "classes": 3, "hidden": ()}
    for side in (16, 32, 64):
        shape = (side, side, card.input_shape[2])
        try:
            with keras.StatelessScope(initialize_variables=False):
                return zoo.create_model(card.name, input_shape=shape, **own, **options)
        except RequestError:
            if side == 64:
                raise


def contents(model):
    backbone = model.get_layer("backbone")
    return [("/".join(w.path.split("/")[-2:]), w.shape) for w in backbone.weights]


def one_of_each(cards):
    """Siblings are built by the same code; the larger ones are looked at with the slow tests."""
    seen, chosen = set(), []
    for card in sorted(cards, key=lambda card: card.parameters):
        quick = (card.family, card.input_shape) not in seen and card.parameters < 1_300_000
        seen.add((card.family, card.input_shape))
        chosen.append(pytest.param(card, id=card.name, marks=[] if quick else [pytest.mark.slow]))
    return chosen


@pytest.mark.parametrize("card", one_of_each(SUBSAMPLING))
def test_every_architecture_keeps_its_weights_and_its_output(card):
    plain, soft = made(card), made(card, antialias=True)
    assert contents(soft) == contents(plain)
    assert soft.get_layer("backbone").output_shape == plain.get_layer("backbone").output_shape
    blurs = [layer for layer in soft.get_layer("backbone").layers if isinstance(layer, layers.BlurPooling2D)]
    assert blurs
    assert not [
        layer.name
        for layer in soft.get_layer("backbone").layers
        if not isinstance(layer, layers.BlurPooling2D) and getattr(layer, "strides", 1) not in (1, (1, 1))
    ]
    if card.name != "locally_connected":
        around = made(card, polyphase=True, antialias=True)
        assert contents(around) == contents(plain)
        assert symmetry_of(around) == "shift"


def test_a_model_that_is_asked_for_nothing_is_as_it_was():
    plain, said = zoo.create_model("resnet8"), zoo.create_model("resnet8", antialias=False, polyphase=False)
    assert [layer.name for layer in said.get_layer("backbone").layers] == [
        layer.name for layer in plain.get_layer("backbone").layers
    ]
    assert "antialias" not in zoo.get_card("mlp").options
    assert "antialias" not in zoo.get_card("keras_mobilenet").options


@pytest.mark.slow
def test_weights_fit_both(tmp_path):
    keras.utils.set_random_seed(0)
    plain = zoo.create_model("resnet8", classes=3)
    plain.save_weights(tmp_path / "plain.weights.h5")
    soft = zoo.create_model("resnet8", classes=3, antialias=True, weights=tmp_path / "plain.weights.h5")
    for one, other in zip(plain.weights, soft.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_blur_comes_behind_the_nonlinearity_and_before_a_1x1_convolution():
    backbone = zoo.create_model("resnet8", antialias=True).get_layer("backbone")
    assert backbone.get_layer("stage2_conv1_blur").input is backbone.get_layer("stage2_1_relu").output
    assert backbone.get_layer("stage2_shortcut").input is backbone.get_layer("stage2_shortcut_blur").output
    assert backbone.get_layer("stage2_conv2").input is backbone.get_layer("stage2_conv1_blur").output


def test_branches_are_sampled_on_the_same_places():
    backbone = zoo.create_model("resnet8", polyphase=True).get_layer("backbone")
    choices = [layer for layer in backbone.layers if isinstance(layer, layers.PolyphaseChoice2D)]
    samplings = [layer for layer in backbone.layers if isinstance(layer, layers.PolyphaseSampling2D)]
    assert (len(choices), len(samplings)) == (2, 4)


def test_show_takes_options():
    shown = CliRunner().invoke(commands, ["show", "lenet5", "--set", "model.options.antialias=true", "--json"])
    found = json.loads(shown.output)
    assert found["options"]["antialias"] == {"default": False, "allowed": "true | false"}
    assert [layer["kind"] for layer in found["anatomy"]["layers"]].count("BlurPooling2D") == 2
    assert found["anatomy"]["macs"] > zoo.describe("lenet5").macs
    refused = CliRunner().invoke(commands, ["show", "lenet5", "--set", "antialiased=true"])
    assert "unknown option of lenet5 'antialiased': did you mean 'antialias'" in str(refused.exception)


def test_what_it_costs_is_counted():
    plain, soft = zoo.describe("resnet8"), zoo.describe("resnet8", antialias=True)
    assert soft.parameters == plain.parameters
    by_name = {layer.name: layer for layer in soft.layers}
    before = {layer.name: layer for layer in plain.layers}
    assert by_name["stage2_conv1"].macs == 4 * before["stage2_conv1"].macs
    assert by_name["stage2_shortcut"].macs == before["stage2_shortcut"].macs
    assert by_name["stage2_shortcut_blur"].macs == 16 * 16 * 16 * 9


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vgg_small", {"input_shape": (28, 28, 1)}, "multiples of the strides .*28x28, nearest: 24 or 32 by 24 or 32"),
        ("vgg_small", {"input_shape": (None, None, 1)}, "give height and width in input_shape"),
        ("vgg_small", {"pooling": "flatten"}, "would change with a shift; .*choose one of average"),
        ("locally_connected", {"pooling": "average"}, "layer C1 .LocallyConnected2D.* antialias=true is"),
        ("lenet5", {}, "would change with a shift"),
    ],
)
def test_what_cannot_follow_shifts_is_refused_in_one_line(name, options, words):
    with pytest.raises(RequestError, match=words) as told:
        zoo.create_model(name, polyphase=True, **options)
    assert "\n" not in str(told.value)


# ---- files -------------------------------------------------------------------------------------------------------


def settled(name, size=16, **options):
    """A model with random weights, and statistics that fit the images."""
    keras.utils.set_random_seed(2)
    random = np.random.default_rng(0)
    model = zoo.create_model(name, input_shape=(size, size, 1), classes=5, pooling="average", **options)
    images = random.integers(0, 256, (24, size, size, 1)).astype("uint8")
    for layer in model.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    return model, images


def written(model, to, images, folder):
    file = folder / f"{to}.tflite"
    file.write_bytes(convert(model, to, Split(images, np.arange(len(images)) % 5)))
    return file, {step.kind for step in read_graph(file.read_bytes()).operators}


SMALL = {"depth": 1, "width": 4}


@pytest.mark.slow
def test_a_blur_is_a_depthwise_convolution_in_the_file(tmp_path):
    model, images = settled("vgg_small", antialias=True, **SMALL)
    file, kinds = written(model, "int8", images, tmp_path)
    assert kinds - {"QUANTIZE", "DEQUANTIZE"} <= {
        *("MUL", "ADD", "CONV_2D", "MAX_POOL_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX")
    }
    steps = [step.kind for step in read_graph(file.read_bytes()).operators]
    assert (steps.count("DEPTHWISE_CONV_2D"), steps.count("MAX_POOL_2D")) == (3, 3)


@pytest.mark.parametrize("to", [pytest.param("float32", marks=pytest.mark.slow), "int8"])
def test_a_file_gives_the_same_scores_under_every_circular_shift(to, tmp_path):
    model, images = settled("vgg_small", 8, polyphase=True, **SMALL)
    file, kinds = written(model, to, images, tmp_path)
    assert {"STRIDED_SLICE", "SUM", "ARG_MAX", "MUL"} <= kinds
    assert not {"ONE_HOT", "GATHER", "GATHER_ND"} & kinds
    predict = TFLiteFile(file).predict
    before = predict(images)
    shifts = [np.roll(images, (down, right), (1, 2)) for down in range(8) for right in range(8)]
    differences = [np.abs(predict(shifted) - before).max() for shifted in shifts]
    assert max(differences) <= (0 if to == "int8" else 1e-5)
    assert np.ptp(before, axis=0).max() > 0.02  # the images are told apart


@pytest.mark.slow
@pytest.mark.parametrize("to", ["dynamic", "float16"])
@pytest.mark.parametrize("antialias", [False, True])
def test_other_precisions(to, antialias, tmp_path):
    model, images = settled("vgg_small", 8, polyphase=True, antialias=antialias, **SMALL)
    file, _ = written(model, to, images, tmp_path)
    found = measure_symmetry(TFLiteFile(file).predict, images, "shift")
    assert found.largest <= {"dynamic": 0.05, "float16": 1e-4}[to]


@pytest.mark.slow
def test_the_converter_to_int16x8_takes_no_maximum_of_integers(tmp_path):
    model, images = settled("vgg_small", 8, polyphase=True, **SMALL)
    with pytest.raises(FailureError, match="vgg_small cannot be converted to int16x8: Empty min/max for tensor"):
        written(model, "int16x8", images, tmp_path)
    soft, images = settled("vgg_small", 8, antialias=True, **SMALL)
    assert "DEPTHWISE_CONV_2D" in written(soft, "int16x8", images, tmp_path)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "options"),
    [("resnet8", 16, {}), ("resnet8", 16, {"antialias": True}), ("mobilenet_v2", 32, {"width": 0.1}), ("nin", 16, {})],
)
def test_int8_files_of_other_architectures(name, size, options, tmp_path):
    model, images = settled(name, size, polyphase=True, **options)
    file, _ = written(model, "int8", images, tmp_path)
    assert measure_symmetry(TFLiteFile(file).predict, images, "shift").largest == 0


@pytest.mark.slow
def test_a_shift_is_a_symmetry_that_is_measured_and_refused_where_it_is_broken():
    model, images = settled("vgg_small", 8, polyphase=True, **SMALL)
    found = symmetry_of_model(model, images)
    assert found.group == "shift"
    assert "1 down, 0 right" in found.differences
    assert found.largest < 1e-5
    x = image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(x)  # sees zeros around the image
    x = keras.layers.GlobalAveragePooling2D()(layers.PolyphaseSampling2D()(x))
    with pytest.raises(FailureError, match=r"under shift, and a score changes by .* where images are shifted by"):
        symmetry_of_model(keras.Model(image, x, name="broken"), images)
