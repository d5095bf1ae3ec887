"""What else a model is exported to, and what is asked of the model first."""

import json
import subprocess
import sys
import warnings
import zipfile

import keras
import numpy as np
import pytest

import recipes.export
from recipes.export.conversion import in_float32, of_any_size
from recipes.export.handover import export, export_all
from recipes.export.kinds import KINDS
from recipes.export.kinds.tflite import convert
from recipes.export.source import open_export_source
from recipes.run.folder import Run
from recipes.run.keras_file import load_keras_file
from recipes.scorers import open_scorer
from recipes.tasks import task_of
from recipes.tflite.file import TFLiteFile
from recipes.tflite.micro import resolver_calls
from zoo import create_model
from zoo.errors import FailureError, RequestError
from zoo.keras_internals import all_layers


@pytest.fixture(scope="session")
def pooled_run(trained):
    """A run whose model pools, after an epoch on the digits; tests read it and do not change it."""
    return trained("lenet5", "epochs=1", "model.pooling=average")


def copy_of(run, folder):
    copy = Run.create(folder)
    for name in ("recipe.toml", "labels.txt", "model.keras"):
        (copy.path / name).write_bytes((run.path / name).read_bytes())
    return copy


def test_the_table_of_kinds_is_read_without_numpy_and_is_what_the_help_lists(zoo_command):
    heavy = {"numpy", "keras.src", "tensorflow.python"}
    program = f"import sys, recipes.export.kinds; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    shown = "".join(zoo_command("export", "--help")[1].split())  # click wraps at hyphens too
    assert all(name in shown for name in KINDS)


def test_public_names_are_where_they_were():
    assert recipes.export.convert is convert
    assert recipes.export.BUDGETS["int8"] == recipes.export.Budget(agreement=0.97, drop=0.01)
    assert list(recipes.export.BUDGETS) == list(KINDS)
    assert {"agreement", "per_class"} <= set(recipes.export.Exported.__dataclass_fields__)
    assert (recipes.export.export, recipes.export.export_all) == (export, export_all)


def test_a_c_array_is_the_file_byte_for_byte(board, digits_run, tmp_path):
    folder, exported = board
    main = tmp_path / "main.cc"
    main.write_text(
        '#include <cstdio>\n#include "digits.h"\n'
        "int main() { fwrite(digits, 1, digits_size, stdout);\n"
        '  for (unsigned i = 0; i < digits_classes; i++) fprintf(stderr, "%s\\n", digits_labels[i]); }\n'
    )
    program = tmp_path / "program"
    command = ["g++", "-Wall", "-Werror", f"-I{folder}", main, exported["file"], "-o", program]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([program], capture_output=True, check=True)
    assert done.stdout == (folder / "digits.tflite").read_bytes()
    assert done.stderr.decode().splitlines() == list(digits_run.class_names)
    header = (folder / "digits.h").read_text()
    graph = TFLiteFile(folder / "digits.tflite").graph
    assert all(f"(resolver).{call}();" in header for call in resolver_calls(graph))
    assert "AddConv2D" in resolver_calls(graph)


def test_scores_of_int8_can_be_floats(digits_run, tmp_path):
    export(digits_run, to="int8", out=tmp_path / "digits.tflite", output_type="float32")
    graph = TFLiteFile(tmp_path / "digits.tflite").graph
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)] == ["uint8", "float32"]


def test_a_keras_file_is_exported_with_images_named_beside_it(digits_run, tmp_path):
    file = tmp_path / "mine.keras"
    file.write_bytes((digits_run.path / "model.keras").read_bytes())
    exported = export(file, to="float32", data="digits")
    assert exported.file == str(tmp_path / "mine-float32.tflite")
    beside = json.loads((tmp_path / "mine-float32.json").read_text())
    assert beside["labels"] == [str(digit) for digit in range(10)]
    with pytest.raises(RequestError, match="give --data"):
        export(file)


def count_calls(monkeypatch, *names):
    """The calls of these methods of a run from here on, in the order in which they are made."""
    calls = []

    def counted(name, own):
        def call(*arguments):
            calls.append(name)
            return own(*arguments)

        return call

    for name in names:
        monkeypatch.setattr(Run, name, counted(name, getattr(Run, name)))
    return calls


def test_a_source_is_opened_without_loading_it(digits_run, monkeypatch):
    calls = count_calls(monkeypatch, "load_model", "load_data")
    source = open_export_source(digits_run.path)
    assert (source.usual_file("int8", ".tflite"), calls) == (digits_run.path / "lenet5-int8.tflite", [])


@pytest.mark.slow
def test_all_precisions_make_one_table(digits_run, tmp_path, monkeypatch):
    run = copy_of(digits_run, tmp_path / "run")
    calls = count_calls(monkeypatch, "load_model", "load_data")
    passed, failed = export_all(run)
    assert failed == {}
    assert sorted(calls) == ["load_data", "load_model"]  # once for all kinds
    kept = json.loads((run.path / "export.json").read_text())
    assert list(kept) == [result.kind for result in passed] == ["float32", "float16", "dynamic", "int8", "int16x8"]
    assert kept["int8"]["bytes"] < 0.35 * kept["float32"]["bytes"]
    assert kept["int8"]["per_class"]["6"].keys() == {"keras", "file"}
    assert 0 < kept["int8"]["mean_difference"] <= kept["int8"]["max_difference"]


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_of_another_precision_is_exported_in_float32(digits_run, tmp_path, precision):
    run, before = copy_of(digits_run, tmp_path / "run"), keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        mixed = create_model("lenet5", input_shape=(32, 32, 1), classes=10)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.set_weights(digits_run.load_model().get_weights())
    run.save_model(mixed)
    assert {layer.compute_dtype for layer in all_layers(in_float32(mixed))} == {"float32"}
    assert export(run, to="float32").agreement >= 0.99


def test_a_model_in_float32_is_left_as_it_is(digits_run):
    model = digits_run.load_model()
    assert in_float32(model) is model


@pytest.mark.slow
def test_a_file_of_open_size_takes_any_size(pooled_run, tmp_path):
    out = tmp_path / "any.tflite"
    export(pooled_run, to="float32", out=out, dynamic_size=True, force=True)
    file, model = TFLiteFile(out), of_any_size(pooled_run.load_model())
    assert file.input_shape == (32, 32, 1)
    for height, width in ((32, 32), (52, 40)):
        images = np.random.default_rng(0).integers(0, 256, (3, height, width, 1), np.uint8)
        file.resize(height, width)
        np.testing.assert_allclose(file.predict(images), model.predict(images, verbose=0), atol=1e-5)


def test_a_flattened_head_has_one_size(digits_run, tmp_path):
    with pytest.raises(RequestError, match="needs a pooled one"):
        export(digits_run, to="float32", out=tmp_path / "any.tflite", dynamic_size=True)
    assert list(tmp_path.iterdir()) == []


def test_a_model_at_chance_is_refused_unless_forced(digits_run, tmp_path):
    run = copy_of(digits_run, tmp_path / "run")
    model = create_model("lenet5", input_shape=(32, 32, 1), classes=10)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    run.save_model(model)
    with pytest.raises(FailureError, match="hardly better than always naming"):
        export(run, to="float32")
    assert not list(run.path.glob("*.tflite"))
    assert export(run, to="float32", force=True).agreement >= 0.995


def test_beyond_the_budget_the_layers_at_fault_are_named(digits_run, tmp_path):
    with pytest.raises(FailureError, match=r"Most of the error comes in at .*backbone/C1 .*Try --to int16x8"):
        export(digits_run, to="int8", out=tmp_path / "digits.tflite", budget={"agreement": 1.0})


def test_onnx_names_what_to_install(digits_run, tmp_path, monkeypatch):
    monkeypatch.setattr("recipes.support.extras.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'convzoo\[onnx\]'"):
        export(digits_run, to="onnx", out=tmp_path / "digits.onnx")


def test_onnx_agrees(digits_run, tmp_path):
    exported = export(digits_run, to="onnx", out=tmp_path / "digits.onnx")
    assert exported.agreement >= 0.999
    assert exported.operators["Conv"] == 2
    scorer = open_scorer(tmp_path / "digits.onnx")
    assert scorer.class_names == digits_run.class_names
    assert (scorer.model_name, scorer.task.name, scorer.resize) == ("lenet5", "classification", "fill")
    test = digits_run.load_data().test
    assert task_of({}).accuracy(scorer.scores(test.images), test.labels) == exported.accuracy_file


@pytest.mark.slow
def test_a_saved_model_agrees_in_a_new_process(digits_run, tmp_path):
    for _ in range(2):  # the second time in place of the first
        assert export(digits_run, to="saved-model", out=tmp_path / "saved").agreement == 1.0
    (tmp_path / "other").mkdir()
    with pytest.raises(RequestError, match="holds something that is not a SavedModel"):
        export(digits_run, to="saved-model", out=tmp_path / "other")


def test_a_full_disk_leaves_nothing(digits_run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recipes.export.kinds.tflite.Path.write_bytes", full)
    with pytest.raises(FailureError, match="No space left"):
        export(digits_run, to="float32", out=tmp_path / "digits.tflite")
    assert list(tmp_path.iterdir()) == []


def test_labels_must_fit_the_scores(digits_run, tmp_path):
    run = copy_of(digits_run, tmp_path / "run")
    run.write_text("labels.txt", "a\nb\n")
    with pytest.raises(RequestError, match="10 scores; there are 2 labels"):
        export(run)


def test_a_model_of_two_inputs_is_refused(tmp_path):
    inputs = [keras.Input((8, 8, 1)), keras.Input((8, 8, 1))]
    scores = keras.layers.Dense(10)(keras.layers.Flatten()(keras.layers.Add()(inputs)))
    keras.Model(inputs, scores, name="pair").save(tmp_path / "pair.keras")
    with pytest.raises(RequestError, match=r"pair goes from .*allowed: one image"):
        export(tmp_path / "pair.keras", data="digits")


def test_a_keras_file_that_brings_code_is_refused(tmp_path):
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Lambda(lambda x: x)]).save(tmp_path / "lambda.keras")
    with pytest.raises(RequestError, match=r"lambda\.keras cannot be loaded"):
        load_keras_file(tmp_path / "lambda.keras")


class Foreign(keras.layers.Layer):
    """A layer that is nowhere to be found where its model is loaded."""

    def call(self, x):
        return x


def test_a_keras_file_with_a_class_that_is_not_there_is_refused(tmp_path):
    keras.Sequential([keras.Input((8, 8, 1)), Foreign(name="odd")]).save(tmp_path / "foreign.keras")
    with zipfile.ZipFile(tmp_path / "foreign.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = members["config.json"].replace(__name__.encode(), b"somewhere_else")
    with pytest.raises(RequestError, match=r"foreign\.keras cannot be loaded: .*Foreign"):
        load_keras_file(write_archive(tmp_path / "foreign.keras", members))


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"units": 120', b'"units": 100000'), (b'"kernel_size": [5, 5]', b'"kernel_size": [50000, 50000]')],
)
def test_a_model_that_is_larger_than_its_file_is_refused_before_it_fills_the_memory(digits_run, tmp_path, old, new):
    with zipfile.ZipFile(digits_run.path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert old in members["config.json"]
    members["config.json"] = members["config.json"].replace(old, new).replace(b'"valid"', b'"same"')
    with pytest.raises(RequestError, match=r"large\.keras asks for more weights than the [\d,]+ bytes"):
        load_keras_file(write_archive(tmp_path / "large.keras", members))


def write_archive(file, members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"config.json": b"{}", "model.weights.h5": bytes(2**27)}, "unfolds from"),
        ({"config.json": b"{", "model.weights.h5": b"1"}, "not JSON"),
        ({"config.json": b"[" * 10**6, "model.weights.h5": b"1"}, "cannot be read"),
        ({"config.json": b"[]", "model.weights.h5": b"1"}, "does not describe a model"),
        ({"config.json": b"{}"}, "has no config.json or"),
    ],
)
def test_a_keras_file_is_looked_through_before_it_is_loaded(tmp_path, members, message):
    with pytest.raises(RequestError, match=message):
        load_keras_file(write_archive(tmp_path / "foreign.keras", members))


def test_a_keras_file_that_cannot_be_unpacked_is_told_in_one_line(digits_run, tmp_path):
    whole = (digits_run.path / "model.keras").read_bytes()
    encrypted = bytearray(whole)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag of every member, and of the directory
        place = encrypted.find(mark)
        while place >= 0:
            encrypted[place + offset] |= 1
            place = encrypted.find(mark, place + 4)
    (tmp_path / "encrypted.keras").write_bytes(encrypted)
    with pytest.raises(RequestError, match=r"encrypted\.keras cannot be read: .*encrypted"):
        load_keras_file(tmp_path / "encrypted.keras")


def test_a_bomb_of_many_members_with_one_name_is_counted_whole(tmp_path):
    file = tmp_path / "bomb.keras"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's own about the name
        for _ in range(40):
            archive.writestr("config.json", bytes(2**21))
    with pytest.raises(RequestError, match=r"unfolds from .* to 83,886,080 bytes"):
        load_keras_file(file)


def test_a_folder_that_cannot_be_written_is_told_before_the_work(digits_run):
    """/proc takes files from nobody, not even from root."""
    with pytest.raises((RequestError, FailureError), match=r"/proc/digits\.tflite cannot be written"):
        export(digits_run, to="float32", out="/proc/digits.tflite")
