"""Any file can be judged: files of ours and of others, in every format, against loops written here."""

import json
import shutil

import numpy as np
import pytest

import cli
from recipes import text
from recipes.compare import compare
from recipes.data import load
from recipes.evaluate import evaluate
from recipes.predict import predict
from recipes.run.folder import Run
from recipes.scorers import open_scorer
from recipes.scorers.shares import what_is_missing
from recipes.support import extras
from recipes.tflite import TFLiteFile, metadata
from recipes.tflite.file import attach
from recipes.tflite.latency import benchmark
from zoo.errors import FailureError, RequestError


@pytest.fixture(scope="module")
def beside(digits_run, int8_file, tmp_path_factory):
    """The run, with its int8 file in its folder."""
    folder = shutil.copytree(digits_run.path, tmp_path_factory.mktemp("beside") / "run")
    shutil.copy(int8_file, folder / "lenet5-int8.tflite")
    return Run.open(folder)


def written_again(file, out, facts, labels=None):
    """A file of ours that says other things of itself."""
    content = file.read_bytes()
    _, end = metadata.attached_files(content, file)
    opened = TFLiteFile(file)
    kept = {key: value for key, value in opened.facts.items() if key != "sha256"}
    out.write_bytes(attach(content[:end], opened.labels if labels is None else labels, kept | facts))
    return out


def as_a_strangers(file, out):
    """The graph of a file alone."""
    content = file.read_bytes()
    _, end = metadata.attached_files(content, file)
    out.write_bytes(content[:end])
    return out


def onnx_file(path, weights, bias=None, *, image=(1, 1, 28, 28), inputs=1, outputs=1, properties=None, dtype=None):
    """A file for ONNX Runtime as others make it: channels first, one matrix, logits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    dtype = dtype or TensorProto.FLOAT
    given = [helper.make_tensor_value_info(f"image_{i}", dtype, image) for i in range(inputs)]
    made = [
        helper.make_tensor_value_info(f"scores_{i}", TensorProto.FLOAT, (1, weights.shape[1])) for i in range(outputs)
    ]
    bias = np.zeros(weights.shape[1]) if bias is None else bias
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in (("w", weights), ("b", bias))
    ]
    nodes = [
        helper.make_node("Cast", ["image_0"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        *(helper.make_node("Gemm", ["flat", "w", "b"], [f"scores_{i}"]) for i in range(outputs)),
    ]
    model = helper.make_model(helper.make_graph(nodes, "net", given, made, constants), producer_name="others")
    model.ir_version, model.opset_import[0].version = 8, 17
    if properties:
        helper.set_model_props(model, properties)
    onnx.save(model, str(path))
    return path


@pytest.fixture(scope="module")
def digits():
    """The digits as they are, 28x28x1."""
    return load("digits")


@pytest.fixture(scope="module")
def rule(digits):
    """A linear classifier of the digits as a matrix and a bias, by least squares; it gives logits."""
    pixels = flat(digits.train.images)
    square = np.c_[pixels, np.ones(len(pixels))]
    found = np.linalg.solve(
        square.T @ square + 1e4 * np.eye(square.shape[1]), square.T @ np.eye(10)[digits.train.labels]
    )
    return 5 * found[:-1], 5 * found[-1]


def flat(images):
    return np.asarray(images, np.float64).reshape(len(images), -1)


# By the runtime that a file is for


def test_a_tflite_file_is_scored_as_a_loop_of_ones_own_scores_it(digits_run, int8_file):
    from ai_edge_litert.interpreter import Interpreter

    test = digits_run.load_data().test
    interpreter = Interpreter(model_path=str(int8_file), num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    right = 0
    for image, label in zip(test.images, test.labels, strict=True):
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        right += int(interpreter.get_tensor(made["index"])[0].argmax() == label)
    metrics = evaluate(int8_file, data="digits")
    assert metrics["examples"] == len(test)
    assert metrics["accuracy"] == right / len(test)
    assert metrics["class_names"] == [str(digit) for digit in range(10)]
    assert metrics["accuracy_interval"][0] < metrics["accuracy"] < metrics["accuracy_interval"][1]
    assert (metrics["data"], metrics["runtime"]) == ("digits", "LiteRT in a process of its own")
    assert metrics["scored"] == "its part test"
    assert metrics["notes"] == []
    assert "precision" in text.evaluation(metrics)
    json.dumps(metrics)


def test_a_keras_file_of_logits_is_scored_as_numpy_scores_it(rule, digits, tmp_path):
    import keras

    image = keras.Input((28, 28, 1))
    dense = keras.layers.Dense(10)
    keras.Model(image, dense(keras.layers.Flatten()(image)), name="others").save(tmp_path / "others.keras")
    model = keras.models.load_model(tmp_path / "others.keras")
    model.layers[-1].set_weights(rule)
    model.save(tmp_path / "others.keras")
    logits = flat(digits.test.images) @ rule[0] + rule[1]
    metrics = evaluate(tmp_path / "others.keras", data="digits")
    assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == digits.test.labels).mean(), abs=2e-3)
    assert metrics["runtime"] == "Keras"
    assert [("a softmax is added behind" in note, "in this order" in note) for note in metrics["notes"]] == [
        (False, True),
        (True, False),
    ]


def test_an_onnx_file_of_logits_is_scored_as_numpy_scores_it(rule, digits, tmp_path, zoo_prints):
    file = onnx_file(tmp_path / "others.onnx", *rule)
    logits = flat(digits.test.images) @ rule[0] + rule[1]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    code, out, err = zoo_prints("evaluate", file, "--data", "digits", "--json")
    metrics = json.loads(out)
    assert code == 0
    assert metrics["accuracy"] == pytest.approx((logits.argmax(1) == digits.test.labels).mean(), abs=2e-3)
    expected = -np.log(shares[np.arange(len(shares)), digits.test.labels]).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-3)
    assert metrics["runtime"] == "ONNX Runtime in a process of its own"
    assert "its scores are taken for 0, 1, 2, 3, 4, ..., in this order." in err
    assert "is given 0-255" in err
    assert "a softmax is added behind" in err
    assert len(err.splitlines()) == 3


def test_one_probability_for_two_classes_is_that_of_the_second(rule, pair, tmp_path):
    """The difference of two rows of the rule: 7 against 3."""
    weights, bias = rule[0][:, 7:8] - rule[0][:, 3:4], rule[1][7:8] - rule[1][3:4]
    metrics = evaluate(onnx_file(tmp_path / "two.onnx", weights, bias=bias), data=str(pair))
    assert metrics["accuracy"] > 0.9
    assert metrics["scored"] == "all of its images"
    assert "a sigmoid and the score of the first class is added" in metrics["notes"][-1]


@pytest.fixture(scope="module")
def pair(digits, tmp_path_factory):
    """A folder of twelve images each of the digits 3 and 7, from the training part."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pair")
    for label in (3, 7):
        (folder / str(label)).mkdir()
        for number, image in enumerate(digits.train.images[digits.train.labels == label][:12, :, :, 0]):
            Image.fromarray(image).save(folder / str(label) / f"{number}.png")
    return folder


@pytest.fixture
def zoo_prints(capfd):
    """Runs the command line in this process: arguments in, (exit code, stdout, stderr) out."""

    def run(*arguments):
        capfd.readouterr()
        code = cli.main([*map(str, arguments)])
        return code, *capfd.readouterr()

    return run


# Which classes, and which images


def test_classes_are_matched_by_name_and_may_be_missing(int8_file, pair):
    metrics = evaluate(int8_file, data=str(pair))
    assert np.sum(metrics["confusion_matrix"], axis=1).tolist() == [0, 0, 0, 12, 0, 0, 0, 12, 0, 0]
    assert metrics["accuracy"] > 0.8


def test_a_file_without_labels_needs_as_many_scores_as_there_are_classes(int8_file, pair, tmp_path):
    file = as_a_strangers(int8_file, tmp_path / "bare.tflite")
    with pytest.raises(RequestError, match=r"bare\.tflite gives 10 scores; the labels are of 2 classes \(3, 7\)"):
        evaluate(file, data=str(pair))
    metrics = evaluate(file, data="digits")
    assert metrics["accuracy"] == evaluate(int8_file, data="digits")["accuracy"]
    assert metrics["notes"] == [
        f"{file} carries no labels: its scores are taken for 0, 1, 2, 3, 4, ..., in this order."
    ]


def test_a_class_that_a_file_does_not_have_is_named_with_the_nearest(int8_file, pair, tmp_path):
    shutil.copytree(pair / "7", tmp_path / "other" / "77")
    shutil.copytree(pair / "3", tmp_path / "other" / "3")
    with pytest.raises(RequestError, match="unknown class '77': did you mean '7'"):
        evaluate(int8_file, data=str(tmp_path / "other"))


def test_a_file_in_its_runs_folder_is_scored_on_the_test_images_of_the_run(beside):
    metrics = evaluate(beside.path / "lenet5-int8.tflite", data="digits")
    assert metrics["scored"] == f"the test images of {beside.path.absolute()}"
    assert metrics["examples_digest"] == beside.metrics["examples_digest"]


def test_training_images_are_counted_where_digests_tell(beside, pair, monkeypatch):
    scorer = open_scorer(beside.path / "lenet5-int8.tflite")
    assert scorer.run.path == beside.path.absolute()
    mine = load(str(pair), image_shape=(32, 32, 1), purpose="score", quiet=True)
    known = frozenset(list(mine.digests.values())[:5])
    monkeypatch.setitem(vars(scorer.run), "training_digests", known)
    metrics = evaluate(scorer, data=str(pair))
    assert metrics["trained_on"] == 5
    assert any(note.startswith("5 of 24 images are ones that the training") for note in metrics["notes"])


def test_a_run_knows_the_digests_of_its_training_images(tmp_path):
    rows = "file,split,label,digest\na.png,train,a,11\nb.png,validation,a,22\nc.png,test,a,33\n"
    (tmp_path / "split.csv").write_text(rows)
    assert Run(tmp_path).training_digests == {"11", "22"}
    assert Run(tmp_path / "nowhere").training_digests == frozenset()


# Beside the metrics


@pytest.mark.slow
def test_invariance_and_the_drawing_of_a_file(int8_file, pair, tmp_path, zoo_prints):
    plot = tmp_path / "matrix.png"
    code, out, err = zoo_prints("evaluate", int8_file, "--data", pair, "--invariance", "--plot", plot)
    assert (code, err) == (0, "")
    assert out.startswith(f"{int8_file} on {pair} (all of its images): accuracy")
    assert "rotation: " in out
    assert out.endswith(f"Drawn in {plot}\n")
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_invariance_of_a_file_is_that_of_the_model_in_it(rule, pair, tmp_path):
    """Both from one linear rule for 3 and 7, in Keras and in ONNX Runtime."""
    import keras

    weights, bias = rule[0][:, [3, 7]], rule[1][[3, 7]]
    image = keras.Input((28, 28, 1))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))
    model.layers[-1].set_weights([weights, bias])
    model.save(tmp_path / "two.keras")
    sources = tmp_path / "two.keras", onnx_file(tmp_path / "two.onnx", weights, bias=bias)
    one, other = (evaluate(source, data=str(pair), invariance=True)["invariance"] for source in sources)
    for family in ("rotation", "translation", "scale", "mirror", "affine"):
        np.testing.assert_allclose(one[family]["score_drop"], other[family]["score_drop"], atol=1e-4)


def test_a_symmetry_that_a_file_says_that_it_has_must_hold(int8_file, pair, tmp_path):
    told = written_again(int8_file, tmp_path / "told.tflite", {"symmetry": "c4", "symmetric_to": 0.0})
    with pytest.raises(FailureError, match=r"told\.tflite is built to give the same scores under c4"):
        evaluate(told, data=str(pair), invariance=True)
    told = written_again(int8_file, tmp_path / "told.tflite", {"symmetry": "mirror", "symmetric_to": 1.0})
    assert open_scorer(told).symmetry == ("mirror", 1.0)
    by_card = written_again(int8_file, tmp_path / "card.tflite", {"model": "p4_cnn"})
    assert open_scorer(by_card).symmetry == ("c4", 0.0)
    assert open_scorer(int8_file).symmetry == ("", 0.0)


# Side by side


def test_a_run_and_its_file_are_compared_on_the_same_images(beside):
    file = beside.path / "lenet5-int8.tflite"
    first, second = compare([beside, file], data="digits")
    assert first["accuracy"] == beside.metrics["accuracy"]
    assert second["accuracy"] == evaluate(file, data="digits")["accuracy"]
    assert (second["parameters"], second["macs"], second["bytes"]) == (None, 422_824, file.stat().st_size)
    apart = second["mcnemar"]["only_other_wrong"] - second["mcnemar"]["only_wrong"]
    assert round(1000 * (second["accuracy"] - first["accuracy"])) == apart
    table = text.comparison([first, second])
    assert "McNemar's p" in table
    assert f"{file.stat().st_size:,}" in table
    with pytest.raises(RequestError, match="give --data"):
        compare([beside, file])


def test_predict_takes_what_evaluate_takes(rule, tmp_path, digit_image):
    file = onnx_file(tmp_path / "others.onnx", *rule)
    (prediction,) = predict(file, [digit_image], top_k=1)
    assert (prediction.guesses[0][0], prediction.named) == ("6", False)


def test_what_a_file_for_onnx_says_of_itself_is_believed(rule, digits, tmp_path):
    labels = "".join(f"{name}\n" for name in "0123456789")
    facts = {"model": "mine", "task": "classification", "resize": "stretch"}
    properties = {"labels.txt": labels, "convzoo.json": json.dumps(facts)}
    scorer = open_scorer(onnx_file(tmp_path / "mine.onnx", *rule, properties=properties))
    assert (scorer.class_names, scorer.resize, scorer.task.name) == (tuple("0123456789"), "stretch", "classification")
    assert scorer.remarks == ()
    many = {"labels.txt": f"{labels}ten\neleven\n"}
    with pytest.raises(RequestError, match="has 12 labels for 10 scores"):
        evaluate(onnx_file(tmp_path / "many.onnx", *rule, properties=many), data="digits")


def test_a_benchmark_tells_the_start_the_memory_and_who_ran_what(int8_file):
    (with_it,) = benchmark([int8_file], threads=[1], repeats=5)
    (without,) = benchmark([int8_file], threads=[1], repeats=5, xnnpack=False)
    assert with_it.median_ms <= with_it.p90_ms <= with_it.p95_ms <= with_it.p99_ms
    assert with_it.to_dict()["p50_ms"] == with_it.median_ms
    assert 0 < with_it.load_ms < with_it.cold_ms
    if with_it.memory_bytes is not None:
        assert int8_file.stat().st_size < with_it.memory_bytes < with_it.process_bytes
    everything = TFLiteFile(int8_file).operators
    assert sum(with_it.delegated.values()) + sum(with_it.kernels.values()) == sum(everything.values())
    assert with_it.delegated["CONV_2D"] == 2
    assert (without.delegated, without.kernels) == ({}, everything)
    assert "XNNPACK ran 2 CONV_2D" in text.timings([with_it])
    assert "without XNNPACK" in text.timings([without])


# What cannot be judged: one line each


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inputs": 2}, "has 2 inputs; allowed: a model from one image to scores"),
        ({"outputs": 2}, "has 2 outputs; allowed: a model from one image to scores"),
        ({"image": (1, 784)}, r"takes \[1, 784\]; allowed: one image"),
        ({"image": (1, 4, 14, 14)}, "allowed: images of 1 channel"),
        ({"dtype": 7}, r"has images of tensor\(int64\); allowed: float32"),
        ({"properties": {"convzoo.json": "[]"}}, "is not an object of JSON"),
        ({"properties": {"convzoo.json": '{"task": "segmentation"}'}}, "unknown task 'segmentation'"),
    ],
)
def test_an_onnx_file_that_is_not_from_one_image_to_scores(rule, tmp_path, given, message):
    with pytest.raises(RequestError, match=message):
        open_scorer(onnx_file(tmp_path / "odd.onnx", rule[0], **given))


def test_an_onnx_file_that_is_damaged_or_has_its_weights_elsewhere(rule, tmp_path):
    whole = onnx_file(tmp_path / "whole.onnx", *rule).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[:-500])
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "elsewhere.onnx").write_bytes(whole + b"\x0a\x08location\x12\x0b/etc/passwd")
    for name, message in (
        ("cut", "cannot be run: ONNX Runtime refuses it"),
        ("empty", "is empty"),
        ("elsewhere", "weights from other files"),
        ("nowhere", "does not exist"),
    ):
        with pytest.raises(RequestError, match=message):
            open_scorer(tmp_path / f"{name}.onnx")


def test_a_keras_file_that_is_not_from_one_image_to_scores(tmp_path):
    import keras

    one, two = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    scores = keras.layers.Dense(2)(keras.layers.Flatten()(one))
    both = keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Add()([one, two])))
    free = keras.Input((None, None, 3))
    for name, model, message in (
        ("inputs", keras.Model([one, two], both), "allowed: one image"),
        ("outputs", keras.Model(one, [scores, scores]), "allowed: one image"),
        ("free", keras.Model(free, keras.layers.GlobalAveragePooling2D()(free)), "takes images of any size"),
    ):
        model.save(tmp_path / f"{name}.keras")
        with pytest.raises(RequestError, match=message):
            open_scorer(tmp_path / f"{name}.keras")


def test_a_file_for_numbers_is_not_scored_on_classes(int8_file, pair, tmp_path):
    file = written_again(int8_file, tmp_path / "weight.tflite", {"task": "regression"})
    with pytest.raises(RequestError, match=r"is a set for classification; .*weight\.tflite is a file for regression"):
        evaluate(file, data=str(pair))


def test_scores_that_are_not_numbers(rule, tmp_path):
    file = onnx_file(tmp_path / "nan.onnx", np.full_like(rule[0], np.nan))
    with pytest.raises(FailureError, match="gives scores that are not numbers for 1,000 of 1,000 images"):
        evaluate(file, data="digits")


def test_onnxruntime_that_is_missing_is_named_with_its_extra(rule, tmp_path, monkeypatch):
    file = onnx_file(tmp_path / "others.onnx", *rule)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"needs onnxruntime: pip install 'convzoo\[onnx\]'"):
        evaluate(file, data="digits")


def test_what_is_neither_a_run_nor_a_file(int8_file, tmp_path, zoo_prints):
    (tmp_path / "model.txt").write_text("no model")
    (tmp_path / "old.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for arguments, message in (
        ((tmp_path, "--data", "digits"), "is not a run: it has no recipe.toml, and is no .tflite, .keras, .onnx file"),
        ((tmp_path / "model.txt", "--data", "digits"), "allowed: the folder of a run, or such a file"),
        ((tmp_path / "old.h5", "--data", "digits"), "is an HDF5 file"),
        ((tmp_path / "nowhere.tflite", "--data", "digits"), "does not exist"),
        ((int8_file,), "does not say which images to score it on: give --data"),
        ((int8_file, "--data", "digit"), "did you mean 'digits'"),
        ((int8_file, "--data", "digits", "--plot", "x.gif"), "allowed endings: .png, .svg, .pdf"),
    ):
        code, out, err = zoo_prints("evaluate", *arguments)
        assert (code, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1


def test_scores_are_looked_at_as_those_of_an_export_are():
    rows = np.float32([[0.25, 0.75], [0.5, 0.5]])
    assert not what_is_missing("net", rows, "classification", 2)
    assert what_is_missing("net", 9 * rows, "classification", 2).activation == "softmax"
    assert not what_is_missing("net", rows + 0.003, "classification", 2, step=1 / 256)  # quantised
    with pytest.raises(RequestError, match="a probability of its own"):
        what_is_missing("net", rows + 0.1, "classification", 2)
    large = what_is_missing("net", np.float32([[1e4], [-1e4]]), "classification", 2)
    np.testing.assert_array_equal(large.added_to(np.float32([[1e4], [-1e4]])), [[0, 1], [1, 0]])
