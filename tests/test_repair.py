"""An int8 file beyond its budget is mended where float layers mend it, and refused with what was tried where not."""

import json
import shutil

import numpy as np
import pytest

import cli
from recipes.export.against import compare_layers
from recipes.export.handover import export
from recipes.export.kinds.base import QUANTISED_BUDGET
from recipes.export.kinds.tflite import calibrated, convert
from recipes.export.layers import draw_errors
from recipes.run.folder import Run
from recipes.tflite.file import TFLiteFile
from zoo.backend import keras
from zoo.errors import FailureError, RequestError
from zoo.keras_internals import round_calibrated

CLOSE = 1.5 / 256  # between scores of uint8


@pytest.fixture(scope="module")
def hard_run(digits_run, tmp_path_factory):
    """LeNet-5 with one value of the last layer but one a thousand times as large, and its weights as much smaller.

    The network is the same in floats. In int8 that tensor has one scale, and nothing is left of the other values.
    """
    run = Run.open(shutil.copytree(digits_run.path, tmp_path_factory.mktemp("hard") / "run"))
    model = run.load_model()
    last = next(layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.Dense))
    factors = np.ones(last.input.shape[-1], np.float32)
    factors[0] = 1000
    uneven = keras.layers.Dense(len(factors), use_bias=False, name="uneven")
    scaled = uneven(last.input)
    uneven.set_weights([np.diag(factors)])
    dense = keras.layers.Dense(last.units, name="uneven_scores")
    scores = keras.layers.Softmax(name="softmax")(dense(scaled))
    kernel, bias = last.get_weights()
    dense.set_weights([kernel / factors[:, None], bias])
    made = keras.Model(model.input, scores, name=model.name)
    images = run.load_data().test.images[:50].astype(np.float32)
    np.testing.assert_allclose(made.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-4)
    run.save_model(made)
    return run


def test_the_worst_layers_stay_in_float32(hard_run):
    out = hard_run.path / "mended.tflite"
    with pytest.raises(FailureError, match="was not written"):
        export(hard_run, out=out, repair=False)
    assert not out.exists()
    result = export(hard_run, out=out)
    assert result.agreement >= QUANTISED_BUDGET.agreement
    assert result.drop <= QUANTISED_BUDGET.drop
    plain, *tried = result.tried
    assert plain["way"] == "the converter's"
    assert plain["spent"] > 1 >= tried[-1]["spent"]
    assert [way["taken"] for way in tried] == [False] * (len(tried) - 1) + [True]
    assert "uneven" in tried[-1]["floats"]
    assert not any("C1" in layer or "C3" in layer for layer in tried[-1]["floats"])  # which are not at fault
    assert tried[-1]["bytes"] < 1.4 * plain["bytes"]
    kept = json.loads((hard_run.path / "export.json").read_text())["int8"]
    assert kept["tried"] == list(result.tried)
    file = TFLiteFile(out)
    assert file.facts["float_layers"] == list(tried[-1]["floats"])
    assert (file.input_dtype, file.score_dtype) == ("uint8", "uint8")
    assert {"QUANTIZE", "DEQUANTIZE"} & set(file.operators)


def test_what_no_layer_mends_is_refused_with_what_was_tried(hard_run, capsys):
    assert cli.main(["export", str(hard_run.path), "--budget", "agreement=1", "--budget", "drop=0"]) == 1
    table, error = capsys.readouterr().err.strip().split("\n\nError: ")
    assert table.startswith("tried, on validation images")
    assert "\nthe converter's" in table
    assert "was not written" in error
    assert "\n" not in error


def test_the_graph_with_ranges_rounds_to_the_converters_file(digits_run, tmp_path):
    model, data = digits_run.load_model(), digits_run.load_data()
    scores = []
    for content in (convert(model, "int8", data.train), round_calibrated(calibrated(model, data.train), (), "uint8")):
        (tmp_path / "one.tflite").write_bytes(content)
        scores.append(TFLiteFile(tmp_path / "one.tflite").predict(data.test.images))
    np.testing.assert_array_equal(*scores)


def test_the_error_of_each_layer_is_shown_whether_or_not_the_file_passed(digits_run, hard_run, int8_file, tmp_path):
    errors = compare_layers(int8_file, digits_run.path)
    assert [error.kind for error in errors].count("CONV_2D") == 2
    assert sum(error.added for error in errors) == pytest.approx(errors[-1].error)
    assert 0 < errors[0].error < 0.02
    content = convert(hard_run.load_model(), "int8", digits_run.load_data().train)
    (tmp_path / "hard.tflite").write_bytes(content)
    errors = compare_layers(tmp_path / "hard.tflite", hard_run.path)
    worst = max(errors, key=lambda error: error.added)
    assert "uneven" in worst.layer
    draw_errors(errors, "hard", tmp_path / "errors.png")
    assert (tmp_path / "errors.png").stat().st_size > 1000


def test_a_file_of_another_model_is_refused(digits_run, int8_file, tmp_path):
    run = Run.open(shutil.copytree(digits_run.path, tmp_path / "run"))
    image = keras.Input((32, 32, 1))
    run.save_model(keras.Model(image, keras.layers.Dense(10, activation="softmax")(keras.layers.Flatten()(image))))
    with pytest.raises(RequestError, match="was not exported from it"):
        compare_layers(int8_file, run.path)
