"""What holds for every card. A new file in `zoo/models/` is tested by being there.

Counts are checked for every card, as published. The contracts run over every small net and over the smallest of each
kind of large one (siblings such as vgg13 and vgg16 share their code), with a narrow head and the smallest image
they take. Of `keras.applications`, which Keras tests itself, that is the smallest of each paper.
"""

import math
from pathlib import Path
from typing import Literal, get_args, get_origin

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

import zoo
from recipes.data import Split
from recipes.export import convert
from recipes.run.keras_file import load_keras_file
from recipes.tflite.file import TFLiteFile
from zoo.errors import RequestError
from zoo.models import squeezenet

# TensorFlow's variables do not know NumPy 2's `copy` yet; Keras meets that whenever it saves.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

QUICK = 100_000  # parameters up to which a net is checked in every run
SIDES = (28, 32, 48, 64, 80)
CLASSES = 7
CARDS = [zoo.get_card(name) for name in zoo.list_models()]


def ready_made(card):
    return card.name.startswith("keras_")


def parameters(cards):
    return [pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c.parameters > QUICK else []) for c in cards]


def kind(card):
    """What siblings have in common: they are built by the same code, at other depths and widths."""
    own = (card.pooling, card.classes, card.scaling, card.parameters == card.trainable_parameters)
    return card.paper.url, ready_made(card), *(() if ready_made(card) else own)


def without_siblings(cards):
    smallest = {}
    for card in sorted(cards, key=lambda card: card.parameters):
        smallest.setdefault(kind(card), card)
    return [card for card in cards if card.parameters <= QUICK or smallest[kind(card)] is card]


def without_weights():
    """Inside this, models are built without the time and memory that initial weights take."""
    return keras.StatelessScope(initialize_variables=False)


def narrow(card):
    return {"hidden": tuple(min(units, 32) for units in card.hidden)}


def least_side(card):
    """The smallest of SIDES that the net can be built for with its own head."""
    channels = card.input_shape[2]
    for side in SIDES:
        try:
            with without_weights():
                zoo.create_model(card.name, input_shape=(side, side, channels), classes=CLASSES, **narrow(card))
            return side
        except RequestError:
            continue
    raise AssertionError(f"{card.name} takes no image of up to {SIDES[-1]} pixels")


def real_images(shape, count=64):
    """Handwritten digits, uint8 (count, *shape), and labels below CLASSES."""
    data = load_digits(n_class=CLASSES)
    pixels = np.repeat(data.images[:count, ..., None] * (255 / 16), shape[2], axis=-1)
    images = keras.ops.image.resize(pixels.astype("float32"), shape[:2])
    return np.asarray(images).round().astype("uint8"), data.target[:count]


@pytest.fixture(autouse=True, scope="module")
def session():
    yield
    keras.backend.clear_session()


# ---- counts, of the whole model as published ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "card", [pytest.param(c, id=c.name, marks=[pytest.mark.slow] if ready_made(c) else []) for c in CARDS]
)
def test_parameters_are_those_on_the_card_and_statistics_are_quick(card):
    with without_weights():
        model = zoo.create_model(card.name)
        trained = sum(math.prod(weight.shape) for weight in model.trainable_variables)
        assert (model.count_params(), trained) == (card.parameters, card.trainable_parameters)
    norms = [n for n in model.get_layer("backbone").layers if isinstance(n, keras.layers.BatchNormalization)]
    assert bool(norms) == (card.parameters != card.trainable_parameters)
    assert all(norm.momentum <= 0.9 for norm in norms)


@pytest.mark.slow
@pytest.mark.parametrize("card", [pytest.param(c, id=c.name) for c in without_siblings(CARDS) if ready_made(c)])
def test_keras_counts_the_same(card):
    name = card.summary.split()[0]
    with without_weights():
        assert getattr(keras.applications, name)(weights=None).count_params() == card.parameters


def test_every_model_of_keras_applications_is_registered():
    there = {name for name in dir(keras.applications) if name[0].isupper()}
    assert {card.summary.split()[0] for card in CARDS if ready_made(card)} == there


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("alexnet", {"form": "two_towers"}, 60_965_224),
        ("all_cnn_a", {"version": "base"}, 839_242),
        ("all_cnn_b", {"version": "strided"}, 885_610),
        ("all_cnn_c", {"version": "base"}, 954_730),
        ("all_cnn_c", {"version": "strided"}, 954_730),
        ("all_cnn_c", {"version": "convpool"}, 1_369_738),
        ("all_cnn_c", {"version": "strided", "input_shape": (64, 64, 3)}, 954_730),
        ("mobilenet_v1", {"width": 0.25, "input_shape": (96, 96, 3), "classes": 2}, 221_794 - 2_736),
        ("mobilenet_v2", {"width": 0.5}, 1_987_224),
        ("mobilenet_v2", {"width": 1.4}, 6_156_712),
        ("pebble", {"width": 15}, 4_924),
        ("pebble", {"width": 22}, 9_371),
        ("pebble", {"width": 42}, 29_221),
    ],
)
def test_parameters_under_an_option(name, options, count):
    with without_weights():
        assert zoo.create_model(name, **options).count_params() == count


def test_batch_normalisation_of_resnet8_has_the_epsilon_of_its_reference():
    """mlcommons/tiny, benchmark/training/image_classification/keras_model.py, at 5872274e: Keras' default of 1e-3."""
    norms = [layer for layer in zoo.create_model("resnet8").get_layer("backbone").layers if hasattr(layer, "epsilon")]
    assert [norm.epsilon for norm in norms] == 7 * [1e-3]


@pytest.mark.parametrize("shape", [(1, 8, 9, 2), (1, 9, 8, 2), (1, 10, 10, 1), (1, 7, 7, 1), (1, 2, 3, 1)])
def test_squeezenet_pools_by_ceiling(shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")  # negative values too: what is padded is no zero
    pooled = np.asarray(keras.Model(image := keras.Input(shape[1:]), squeezenet.pool(image, "pool"))(x))
    rows, columns = (-(-(size - 3) // 2) + 1 for size in shape[1:3])  # Caffe's rule
    expected = [[x[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(columns)] for i in range(rows)]
    np.testing.assert_array_equal(pooled[0], expected)


@pytest.mark.parametrize(("name", "count"), [("vgg16", 14_714_688), ("vgg19", 20_024_384), ("lenet5_1998", 60_000)])
def test_parameters_without_the_head(name, count):
    with without_weights():
        assert zoo.create_model(name).get_layer("backbone").count_params() == count


def skip_if_ready_made_and_large(card):
    if ready_made(card) and card.parameters > 5_000_000:
        pytest.skip("takes minutes, for code that is not ours")


def test_the_example_in_the_documentation_is_right(monkeypatch):
    monkeypatch.setattr("zoo.registry._CARDS", {})
    page = (Path(__file__).parents[1] / "docs" / "adding-a-model.md").read_text("utf-8")
    exec(page.split("```python")[1].split("```")[0], {"__name__": "your_net"})
    card = zoo.get_card("your_net")
    with without_weights():
        model = zoo.create_model("your_net")
        trained = sum(math.prod(weight.shape) for weight in model.trainable_variables)
        assert (model.count_params(), trained) == (card.parameters, card.trainable_parameters)


# ---- contracts ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=parameters(without_siblings(CARDS)))
def card(request):
    yield request.param
    if request.param.parameters > QUICK:
        keras.backend.clear_session()


@pytest.fixture(scope="module")
def side(card):
    return least_side(card)


@pytest.fixture(scope="module")
def model(card, side):
    """The net for small images, built once for all contracts, and changed by those that train it."""
    keras.utils.set_random_seed(0)
    return zoo.create_model(card.name, input_shape=(side, side, card.input_shape[2]), classes=CLASSES, **narrow(card))


def test_every_weight_gets_a_gradient_and_the_loss_falls(card, model):
    skip_if_ready_made_and_large(card)
    images, labels = real_images(model.input_shape[1:], 16)
    optimizer = keras.optimizers.Adam(5e-4)
    losses = []
    while len(losses) < 3 or (len(losses) < 5 and min(losses[-2:]) >= losses[0]):
        with tf.GradientTape() as tape:
            scores = model(images, training=True)
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, scores))
        gradients = tape.gradient(loss, [weight.value for weight in model.trainable_variables])
        without = [w.path for w, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
        assert not without
        optimizer.apply(gradients, model.trainable_variables)
        losses.append(float(loss))
    assert min(losses[-2:]) < losses[0], losses


def test_saved_and_loaded_it_scores_the_same(model, tmp_path):
    images, _ = real_images(model.input_shape[1:], 4)
    file = tmp_path / "model.keras"
    model.save(file)
    again = load_keras_file(file)  # as runs are opened: the file is trusted with no more than it brings
    np.testing.assert_array_equal(again(images, training=False), model(images, training=False))


def test_frozen_backbone_leaves_the_head(model):
    backbone = model.get_layer("backbone")
    inside = {id(weight) for weight in backbone.weights}
    backbone.trainable = False
    left = model.trainable_variables
    backbone.trainable = True
    assert left
    assert not inside & {id(weight) for weight in left}


def test_tflite_file_has_builtins_only_and_agrees(card, model, tmp_path):
    skip_if_ready_made_and_large(card)
    images, labels = real_images(model.input_shape[1:], 4)
    file = tmp_path / "model.tflite"
    file.write_bytes(convert(model, "float32", Split(images, labels)))
    np.testing.assert_allclose(TFLiteFile(file).predict(images), model(images, training=False), atol=2e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_gives_float32_scores(card, side, policy):
    skip_if_ready_made_and_large(card)
    images, _ = real_images((side, side, card.input_shape[2]), 2)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = zoo.create_model(card.name, input_shape=images.shape[1:], classes=CLASSES, **narrow(card))
        scores = np.asarray(model(images, training=False))
    finally:
        keras.config.set_dtype_policy(before)
    assert model.get_layer("backbone").compute_dtype == keras.DTypePolicy(policy).compute_dtype
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_other_sizes_and_channels(card, side, channels):
    shapes = [(side, side + 4, channels), (side + 16, side, channels)]
    if card.symmetry in ("c4", "d4"):  # what a quarter turn leaves as it is, is square
        for shape in shapes:
            with pytest.raises(RequestError, match="quarter turns need square maps"), without_weights():
                zoo.create_model(card.name, input_shape=shape, classes=3, **narrow(card))
        shapes = [(side + 4, side + 4, channels), (side + 7, side + 7, channels)]
    for shape in shapes:
        with without_weights():
            model = zoo.create_model(card.name, input_shape=shape, classes=3, **narrow(card))
        assert model.input_shape == (None, *shape)
        assert model.output_shape == (None, 3)


def test_pooled_nets_take_any_size(card, side):
    if card.pooling == "flatten" or "image size must be known" in card.notes:
        pytest.skip("needs to know the size")
    with without_weights():
        model = zoo.create_model(card.name, input_shape=(None, None, card.input_shape[2]), classes=3)
    assert model.compute_output_shape((2, side + 8, side, card.input_shape[2])) == (2, 3)


@pytest.mark.parametrize("card", [pytest.param(c, id=c.name) for c in CARDS if c.options])
def test_options_outside_their_range_raise(card):
    for name, option in card.options.items():
        with pytest.raises(RequestError, match=f"{name}=.* is not possible|unknown {name} of {card.name} "):
            zoo.create_model(card.name, **{name: beyond(option.annotation)})


def beyond(annotation):
    """A value that an option with this annotation must not accept."""
    if annotation is bool or get_origin(annotation) is Literal:
        return "nothing like it"
    limits = get_args(annotation)[1:]
    for limit in limits:
        for bound, step in (("le", 1), ("lt", 0), ("ge", -1), ("gt", 0)):
            if hasattr(limit, bound):
                return getattr(limit, bound) + step
        if hasattr(limit, "min_length"):
            return ()
    raise AssertionError(f"{annotation} has no limit that could be checked")


# ---- against other implementations -------------------------------------------------------------------------------


def our_name_in_resnet50(theirs):
    """`conv2_block1_0_bn` is `stage1_block1_shortcut_bn`, `conv2_block1_3_bn` is `stage1_block1_bn3`."""
    parts = theirs.split("_")
    if parts[0] == "conv1":
        return "stem_bn" if parts[1] == "bn" else "stem"
    stage, block, number, what = int(parts[0][-1]) - 1, parts[1], parts[2], parts[3]
    last = ("shortcut_bn" if what == "bn" else "shortcut") if number == "0" else f"{what}{number}"
    return f"stage{stage}_{block}_{last}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "theirs"),
    [("mobilenet_v1", "MobileNet"), ("mobilenet_v2", "MobileNetV2"), ("resnet50", "ResNet50"), ("vgg16", "VGG16")],
)
def test_with_the_weights_of_keras_it_computes_what_keras_computes(name, theirs):
    shape = (64, 64, 3)
    reference = getattr(keras.applications, theirs)(weights=None, include_top=False, input_shape=shape)
    backbone = zoo.create_model(name, input_shape=shape, pooling="average").get_layer("backbone")
    draw = np.random.default_rng(0)
    for weight in reference.weights:  # statistics and shifts too must differ from their initial 0 and 1
        if len(weight.shape) == 1:
            weight.assign(draw.uniform(0.5, 1.5, weight.shape))
    if name == "resnet50":
        for layer in filter(lambda layer: layer.weights, reference.layers):
            backbone.get_layer(our_name_in_resnet50(layer.name)).set_weights(layer.get_weights())
    else:
        backbone.set_weights(reference.get_weights())
    images = draw.normal(size=(2, *shape)).astype("float32")
    expected = np.asarray(reference(images, training=False))
    np.testing.assert_allclose(backbone(images, training=False), expected, rtol=1e-3, atol=1e-4 * expected.std())
    keras.backend.clear_session()
