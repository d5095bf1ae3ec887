"""Heads on a small backbone: what they compute, and that they train, save, load and convert."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from reference import nearly, positive

import zoo
from recipes.data import Split
from recipes.export import convert
from recipes.run.keras_file import load_keras_file
from recipes.tflite.file import TFLiteFile
from zoo.errors import RequestError
from zoo.heads import ACTIVATIONS, HEADS, apply_head

POOLED = [name for name in HEADS if name != "flatten"]
SIZES = [(32, 32), (40, 29)]


def batch(size, count=2, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 1)).astype("uint8")


def small(pooling, size=(None, None), **settings):
    keras.utils.set_random_seed(0)
    return zoo.create_model("lenet5", input_shape=(*size, 1), pooling=pooling, classes=4, **settings)


def grid(x, n):
    """Largest value of each of n x n regions, (B, n * n * C)."""
    edges = [[(i * size // n, -(-(i + 1) * size // n)) for i in range(n)] for size in x.shape[1:3]]
    return np.concatenate([x[:, a:b, c:d].max((1, 2)) for a, b in edges[0] for c, d in edges[1]], 1)


REFERENCES = {
    "flatten": lambda x: x.reshape(len(x), -1),
    "average": lambda x: x.mean((1, 2)),
    "max": lambda x: x.max((1, 2)),
    "average_max": lambda x: np.concatenate([x.mean((1, 2)), x.max((1, 2))], 1),
    "gem": lambda x: (np.maximum(x, 1e-6) ** 3).mean((1, 2)) ** (1 / 3),
    "lp": lambda x: (x**2).mean((1, 2)) ** 0.5,
    "attention": lambda x: x.mean((1, 2)),  # before training
    "adaptive_max": lambda x: grid(x, 4),
    "pyramid": lambda x: np.concatenate([grid(x, n) for n in (4, 2, 1)], 1),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_what_a_head_computes(name):
    x = positive((2, 5, 7, 3)) - 0.3
    features = keras.Input(x.shape[1:])
    nearly(keras.Model(features, HEADS[name](features, 4))(x), REFERENCES[name](x))


def test_regions_have_their_mean():
    x = positive((2, 8, 4, 3))
    features = keras.Input(x.shape[1:])
    expected = x.reshape(2, 4, 2, 4, 1, 3).mean((2, 4)).reshape(2, -1)
    nearly(keras.Model(features, HEADS["adaptive_average"](features, 4))(x), expected)


@pytest.mark.parametrize("name", POOLED)
def test_a_head_takes_any_image_size(name):
    model = small(name, hidden=() if name == "convolutional" else (12,))
    for size in SIZES:
        scores = model(batch(size), training=False).numpy()
        np.testing.assert_allclose(scores.sum(1), [1, 1], rtol=1e-5)
        fixed = small(name, size, hidden=() if name == "convolutional" else (12,))
        fixed.set_weights(model.get_weights())
        np.testing.assert_allclose(fixed(batch(size), training=False), scores, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_flattened_head_takes_the_size_it_was_built_for(size):
    assert small("flatten", size, hidden=(12, 5))(batch(size)).shape == (2, 4)


@pytest.mark.parametrize("size", [(None, None), (32, None)])
def test_the_flattened_head_refuses_open_sizes_in_one_line(size):
    with pytest.raises(RequestError, match="pooling 'flatten' needs images of one fixed size") as caught:
        small("flatten", size)
    assert "\n" not in str(caught.value)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(RequestError, match="did you mean 'gem'"):
        small("germ")
    with pytest.raises(RequestError, match="did you mean 'adaptive_max'"):
        small("adaptivemax")


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # Keras' own
@pytest.mark.parametrize("name", POOLED)
def test_a_head_trains_every_weight_and_survives_saving(name, tmp_path):
    model = small(name, (32, 32), hidden=() if name == "convolutional" else (6,), nonlinearity="tanh")
    x, y = batch((32, 32), 8), np.arange(8) % 4
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(y, model(x, training=True)))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.abs(gradient.numpy()).max() > 0, variable.path
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load_keras_file(tmp_path / "model.keras")(x, training=False), model(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
    logits = keras.ops.convert_to_tensor(np.random.default_rng(0).normal(size=(3, 4)), "float32")
    expected = getattr(keras.activations, activation)(logits)
    features = keras.Input((2, 2, 5))
    scores = apply_head(features, pooling="average", classes=4, activation=activation)
    last = keras.Model(features, scores).get_layer("scores")
    np.testing.assert_allclose(last(logits), expected)
    assert small("average", activation=activation)(batch((32, 32))).shape == (2, 4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_scores_stay_float32_under_mixed_precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        for name in POOLED:
            scores = small(name)(batch((32, 32)), training=False)
            assert scores.dtype == "float32", name
            np.testing.assert_allclose(scores.numpy().sum(1), [1, 1], rtol=1e-5)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("name", ["gem", "attention", "pyramid"])
def test_a_head_converts_to_tflite_builtins(name, tmp_path):
    converts(name, "float32", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["float32", "int8"])
@pytest.mark.parametrize("name", HEADS)
def test_every_head_converts_to_tflite_builtins(name, to, tmp_path):
    converts(name, to, tmp_path)


def converts(name, to, folder):
    model, images = small(name, (32, 32)), batch((32, 32), 40)
    file = folder / "model.tflite"
    file.write_bytes(convert(model, to, Split(images, np.arange(40) % 4)))  # raises where a builtin is missing
    expected, received = model.predict(images[:8], verbose=0), TFLiteFile(file).predict(images[:8])
    np.testing.assert_allclose(received, expected, atol=1e-5 if to == "float32" else 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", POOLED)
def test_a_file_with_an_open_size_takes_any_image(name, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model = small(name)
    signature = [keras.InputSpec(shape=(1, None, None, 1), dtype="float32")]
    builtins = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    file = tmp_path / "model.tflite"
    model.export(file, format="litert", input_signature=signature, verbose=False, target_spec=builtins)
    for size in SIZES:
        interpreter = Interpreter(str(file))
        interpreter.resize_tensor_input(0, (1, *size, 1))
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, batch(size)[:1].astype("float32"))
        interpreter.invoke()
        received = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(received, model(batch(size), training=False)[:1], atol=1e-5)


@pytest.mark.parametrize("pooling", ["convolutional", "average"])
@pytest.mark.parametrize("size", SIZES)
def test_the_mean_of_the_score_map_is_the_models_score(pooling, size):
    model = small(pooling, (32, 32), activation="linear")
    score_map = zoo.score_map_model(model)
    scores = score_map(batch(size))
    assert score_map.output_shape == (None, None, None, 4)
    assert scores.shape[3] == 4
    again = small(pooling, activation="linear")
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(scores.numpy().mean((1, 2)), again(batch(size), training=False), atol=1e-5)


def test_a_score_map_has_the_models_activation_or_another():
    model, x = small("convolutional", (32, 32)), batch((36, 36))
    np.testing.assert_allclose(zoo.score_map_model(model)(x).numpy().sum(-1), 1, rtol=1e-5)
    logits = zoo.score_map_model(model, activation="linear", input_shape=(36, 36, 1))(x)
    np.testing.assert_allclose(zoo.score_map_model(model)(x), keras.ops.softmax(logits), atol=1e-6)


def test_a_score_map_leaves_the_model_as_it_was():
    model, x = small("convolutional", (32, 32)), batch((32, 32))
    score_map = zoo.score_map_model(model)
    before = model(x, training=False).numpy()
    score_map.set_weights([w + 1 for w in score_map.get_weights()])
    np.testing.assert_array_equal(model(x, training=False), before)
    assert model.get_layer("scores").activation is keras.activations.softmax


def test_models_without_a_score_map_are_refused():
    for settings in ({"pooling": "max"}, {"pooling": "average", "hidden": (3,)}, {"pooling": "flatten"}):
        with pytest.raises(RequestError, match="has no score map"):
            zoo.score_map_model(small(settings.pop("pooling"), (32, 32), **settings))
    with pytest.raises(RequestError, match="has no score map for images of"):
        zoo.score_map_model(zoo.create_model("mlp", pooling="average"))
    with pytest.raises(RequestError, match="did you mean 'softmax'"):
        zoo.score_map_model(small("average"), activation="sofmax")
    with pytest.raises(RequestError, match="has no score map"):
        zoo.score_map_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))


@pytest.mark.parametrize("subsampling", zoo.get_card("lenet5").options["subsampling"].annotation.__args__)
def test_lenet_subsamples_by_any_pooling(subsampling):
    model = zoo.create_model("lenet5", subsampling=subsampling)
    weights = 4 * (6 + 16) if subsampling == "weighted_average" else 0
    assert model.count_params() == 61_706 + weights
    assert model(batch((32, 32)), training=True).shape == (2, 10)
