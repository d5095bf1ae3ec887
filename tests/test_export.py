"""Export: the file that is handed over behaves like the model, or there is no file."""

import csv
import json

import numpy as np
import pytest

from recipes.export.handover import export
from recipes.export.kinds.tflite import PRECISIONS
from recipes.export.parity import refuse_chance
from recipes.predict import predict
from recipes.run.folder import Run
from recipes.tflite.file import TFLiteFile
from zoo.errors import FailureError, RequestError


@pytest.mark.parametrize("kind", [kind.name for kind in PRECISIONS])
def test_a_file_of_every_kind_agrees_with_its_model(digits_run, tmp_path, kind):
    from ai_edge_litert.interpreter import Interpreter

    exported = export(digits_run, to=kind, out=tmp_path / "digits.tflite")
    assert exported.agreement >= 0.99
    assert exported.accuracy_file >= exported.accuracy_keras - 0.01
    assert exported.bytes == (tmp_path / "digits.tflite").stat().st_size

    # The same, found without any code of the project: raw pixels in, one at a time.
    test = digits_run.load_data().test
    interpreter = Interpreter(str(tmp_path / "digits.tflite"))
    interpreter.allocate_tensors()
    pixels, scores = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert pixels["dtype"] == (np.uint8 if kind == "int8" else np.float32)
    guesses = []
    for image in test.images:
        interpreter.set_tensor(pixels["index"], image[None].astype(pixels["dtype"]))
        interpreter.invoke()
        guesses.append(interpreter.get_tensor(scores["index"])[0].argmax())
    assert (np.array(guesses) == test.labels).mean() == pytest.approx(exported.accuracy_file)


def test_an_int8_file_takes_pixels_as_they_are_and_is_small(digits_run, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    exported = export(digits_run, to="int8", out=tmp_path / "digits.tflite")
    assert exported.bytes <= 76_000
    interpreter = Interpreter(str(tmp_path / "digits.tflite"))
    pixels, scores = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert pixels["quantization"] == (1.0, 0)
    assert scores["dtype"] == np.uint8
    assert exported.operators["CONV_2D"] == 2


def test_the_same_run_exports_to_the_same_bytes(digits_run, tmp_path):
    for name in ("one.tflite", "two.tflite"):
        export(digits_run, to="int8", out=tmp_path / name)
    assert (tmp_path / "one.tflite").read_bytes() == (tmp_path / "two.tflite").read_bytes()


def test_what_was_measured_is_kept_in_the_run(digits_run, tmp_path):
    exported = export(digits_run, to="float32", out=tmp_path / "digits.tflite")
    kept = json.loads((digits_run.path / "export.json").read_text())["float32"]
    assert kept == exported.to_dict()
    assert kept["images"] == kept["pictures"] == exported.images == len(digits_run.load_data().test)
    assert {"file", "bytes", "agreement", "max_difference", "accuracy_keras", "accuracy_file", "operators"} <= set(kept)


def test_beyond_the_budget_there_is_no_file_not_even_an_older_one(digits_run, tmp_path, monkeypatch):
    out = tmp_path / "digits.tflite"
    out.write_bytes(b"from another day")

    predict = TFLiteFile.predict
    monkeypatch.setattr(TFLiteFile, "predict", lambda *arguments: np.roll(predict(*arguments), 1, axis=1))
    with pytest.raises(FailureError, match="was not written"):
        export(digits_run, to="float32", out=out)
    assert list(tmp_path.iterdir()) == []


def test_scores_that_are_not_numbers_are_beyond_any_budget(digits_run, tmp_path, monkeypatch):
    predict = TFLiteFile.predict
    monkeypatch.setattr(TFLiteFile, "predict", lambda *arguments: np.full_like(predict(*arguments), np.nan))
    with pytest.raises(FailureError):
        export(digits_run, out=tmp_path / "digits.tflite", budget={"agreement": 0, "drop": 1})


def test_a_model_that_gives_one_answer_proves_nothing_whatever_its_task():
    numbers = np.linspace(0, 9, 200).astype(np.float32)
    several = np.tile(np.float32([[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 0, 1]]), (50, 1))
    always = np.tile(several.mean(0), (200, 1))
    for labels, scores, task in ((numbers, np.full((200, 1), 4.5), "regression"), (several, always, "multilabel")):
        with pytest.raises(FailureError, match="hardly better than always"):
            refuse_chance(scores, labels, task)
    refuse_chance(numbers[:, None] + 0.1, numbers, "regression")
    refuse_chance(several * 0.8, several, "multilabel")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "in8"}, "did you mean 'int8'"),
        ({"out": "digits.tfl"}, "does not end in .tflite"),
        ({"out": "nowhere/digits.tflite"}, "nowhere is not a folder"),
        ({"budget": {"agreemnt": 1}}, "did you mean 'agreement'"),
        ({"budget": {"drop": 3}}, "drop=3 is not possible"),
    ],
)
def test_a_wrong_request_is_answered_in_one_line(digits_run, arguments, message):
    with pytest.raises(RequestError, match=message):
        export(digits_run, **arguments)


def test_a_file_alone_names_images_as_the_run_does(digits_run, int8_file, digit_image):
    (by_file,), (by_run,) = predict(int8_file, [digit_image]), predict(digits_run.path, [digit_image])
    assert by_file.guesses[0][0] == by_run.guesses[0][0] == "6"
    assert by_file.guesses[0][1] == pytest.approx(by_run.guesses[0][1], abs=0.05)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.99, 0.9999])
def test_a_cut_off_file_is_named_as_such(int8_file, tmp_path, share):
    content = int8_file.read_bytes()
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(RequestError, match=r"cut\.tflite is (empty|truncated|not a TFLite file)"):
        TFLiteFile(cut)


def test_a_flipped_bit_is_found(int8_file, tmp_path):
    content = bytearray(int8_file.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.tflite").write_bytes(content)
    with pytest.raises(RequestError, match="digest"):
        TFLiteFile(tmp_path / "flipped.tflite")


def test_a_file_without_labels_gives_numbers(int8_file, digit_image, tmp_path):
    content = int8_file.read_bytes()
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(content[: content.index(b"PK\x03\x04")])
    (prediction,) = predict(bare, [digit_image])
    assert prediction.guesses[0][0] == "6"
    assert TFLiteFile(bare).labels == ()


def test_damaged_and_missing_keras_files_are_told_apart(digits_run, tmp_path):
    run = Run.create(tmp_path / "run")
    for name in ("recipe.toml", "labels.txt"):
        run.write_text(name, (digits_run.path / name).read_text())
    with pytest.raises(RequestError, match="did not finish"):
        run.load_model()
    whole = (digits_run.path / "model.keras").read_bytes()
    for content, message in ((b"", "is empty"), (whole[: len(whole) // 2], "truncated"), (b"foreign", "not a Keras")):
        (run.path / "model.keras").write_bytes(content)
        with pytest.raises(RequestError, match=message):
            run.load_model()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (run.path / "model.keras").write_bytes(flipped)
    with pytest.raises(RequestError, match="damaged"):
        run.load_model()


@pytest.mark.slow
def test_a_run_whose_images_were_moved_is_exported_with_those_that_are_told(trained, tmp_path):
    from images import digit_folders
    from PIL import Image

    first, moved = digit_folders(tmp_path / "first", "06"), tmp_path / "moved"
    run = trained("lenet5", "epochs=4", data=first)
    first.rename(moved)
    with pytest.raises(RequestError, match=r"first does not exist\. Give --data with where the images of .* are now"):
        export(run, to="float32", out=tmp_path / "digits.tflite")
    kept = export(run, to="float32", out=tmp_path / "digits.tflite", data=str(moved), force=True)
    assert (tmp_path / "digits.tflite").is_file()
    assert kept.agreement == 1
    with open(run.split_table) as table:
        tested = next(row["file"] for row in csv.DictReader(table) if row["split"] == "test")
    Image.fromarray(255 - np.asarray(Image.open(moved / tested))).save(moved / tested)
    with pytest.raises(RequestError, match="moved"):
        export(run, to="float32", out=tmp_path / "again.tflite", data=str(moved), force=True)
    assert not (tmp_path / "again.tflite").exists()
