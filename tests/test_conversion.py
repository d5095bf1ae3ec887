"""A model becomes the TFLite file that Keras' own exporter writes, without the traces that it makes for that."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import zoo
from recipes.data import Split
from recipes.export.conversion import export_with_keras, image_signature, to_tflite
from recipes.export.kinds.tflite import PRECISIONS
from recipes.tflite.graph import read_graph

KINDS = {kind.name: kind for kind in PRECISIONS}


@pytest.fixture(scope="module")
def images():
    draw = np.random.default_rng(0)
    return Split(draw.integers(0, 256, (20, 32, 32, 1)).astype("uint8"), np.arange(20) % 3)


def by_both(name, kind, images, folder, shape=(1, 32, 32, 1)):
    keras.utils.set_random_seed(0)
    size = (32, 32, 1) if shape[1] else (None, None, 1)
    model = zoo.create_model(name, input_shape=size, classes=3, activation="softmax")
    settings = KINDS[kind]._converter_settings(model, images, "uint8")
    file = folder / "keras.tflite"
    export_with_keras(model, file, kind, format="litert", input_signature=image_signature(shape), **settings)
    return file.read_bytes(), to_tflite(model, shape, kind, KINDS[kind]._converter_settings(model, images, "uint8"))


def scores(content, images):
    interpreter = Interpreter(model_content=content)
    place = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(place, (1, *images.shape[1:]))
    interpreter.allocate_tensors()
    answers = []
    for image in images:
        interpreter.set_tensor(place, image[None].astype(interpreter.get_input_details()[0]["dtype"]))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.array(answers), interpreter.get_signature_list()


def steps(content):
    """What a file computes, and in which layer; the last one bears the number of a trace."""
    whole = [(step.kind, step.layer, step.options) for step in read_graph(content).operators]
    return [(kind, layer.replace("Call_1:0", "Call:0"), options) for kind, layer, options in whole]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("lenet5", kind) for kind in KINDS),
        *(pytest.param("resnet8", kind, marks=pytest.mark.slow) for kind in ("float32", "int8")),
        pytest.param("mobilenet_v1", "int8", marks=pytest.mark.slow),
        pytest.param("mlp", "int8", marks=pytest.mark.slow),
    ],
)
def test_one_trace_gives_the_file_that_keras_writes(name, kind, images, tmp_path):
    theirs, ours = by_both(name, kind, images, tmp_path)
    assert steps(ours) == steps(theirs)
    assert abs(len(ours) - len(theirs)) <= 64
    (answers, signature), (expected, theirs_signature) = (scores(file, images.images) for file in (ours, theirs))
    np.testing.assert_array_equal(answers, expected)
    assert list(signature) == list(theirs_signature) == ["serving_default"]


@pytest.mark.slow
def test_an_open_size_stays_open(images, tmp_path):
    theirs, ours = by_both("nin", "float32", images, tmp_path, shape=(1, None, None, 1))
    larger = np.repeat(np.repeat(images.images[:3], 2, axis=1), 2, axis=2)
    np.testing.assert_array_equal(scores(ours, larger)[0], scores(theirs, larger)[0])


def test_variables_are_folded_into_constants(images, tmp_path):
    content = to_tflite(zoo.create_model("lenet5"), (1, 32, 32, 1), "float32", {"target_spec": {}})
    assert not {"READ_VARIABLE", "VAR_HANDLE"} & {step.kind for step in read_graph(content).operators}
