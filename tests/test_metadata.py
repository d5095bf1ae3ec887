"""What a file says about itself: written without the tools that are gone, read by the ones that are there."""

import zipfile
from copy import deepcopy

import numpy as np
import pytest

from recipes.export.handover import export
from recipes.support.quiet import native_output_hidden
from recipes.tflite import metadata
from recipes.tflite.file import TFLiteFile, read_content
from recipes.tflite.inspection import inspect
from recipes.tflite.latency import benchmark
from zoo.errors import RequestError


def test_what_is_written_is_read_again():
    facts = {"name": "n", "description": "Grüße", "version": "1", "author": "a", "license": "l"}
    encoded = metadata.classifier_metadata(**facts, channels=3, resize="fill", label_file="labels.txt")
    tree = metadata.decode(encoded)
    assert {key: tree[key] for key in facts} == facts
    assert metadata.label_file(tree) == "labels.txt"
    assert metadata.normalization(tree) == ([0.0], [1.0])
    assert metadata.first(tree, "input")["content"]["content_properties"] == {"color_space": 1}
    assert metadata.encode(tree) == encoded


@pytest.mark.parametrize("damaged", [b"", b"\x00" * 40, b"\xff\xff\xff\x00M001" + b"\xff" * 20])
def test_what_is_not_metadata_is_not_read_as_such(damaged):
    with pytest.raises(Exception):  # noqa: B017, PT011 - the parser's own; a file's reader names the file
        metadata.decode(damaged)


def test_inserting_changes_nothing_but_the_metadata(int8_file):
    content = read_content(int8_file)
    facts = {"name": "again"}
    once = metadata.insert(content, metadata.encode(facts))
    assert metadata.find(once) == facts
    assert metadata.insert(once, metadata.encode(facts)) == once
    assert metadata.find(metadata.insert(once, metadata.encode({"name": "other"}))) == {"name": "other"}


def test_weights_lie_where_small_boards_want_them(int8_file):
    from ai_edge_litert import schema_py_generated as schema

    def address(array):
        return array.__array_interface__["data"][0]

    content = read_content(int8_file)
    model = schema.Model.GetRootAs(content, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    starts = [address(b.DataAsNumpy()) - address(np.frombuffer(content, np.uint8)) for b in buffers if b.DataLength()]
    assert len(starts) > 5
    assert all(start % 16 == 0 for start in starts)


def test_a_file_shows_what_it_is(int8_file):
    shown = inspect(int8_file)
    assert shown.labels == [str(digit) for digit in range(10)]
    assert shown.inputs[0] | {"name": ""} == {
        "name": "",
        "shape": [1, 32, 32, 1],
        "dtype": "uint8",
        "scale": 1.0,
        "zero_point": 0,
    }
    assert (shown.metadata["author"], shown.metadata["license"]) == ("A. Turing", "MIT")
    assert len(shown.facts["run"]) == 64
    assert shown.metadata["version"] == shown.facts["run"][:12]
    assert shown.macs == 422_824  # 28*28*6*25 + 14*14*6*4 + 5*5*16*4 + 10*10*16*150 + 400*120 + 120*84 + 84*10
    assert shown.layers["hidden_1"] == 400 * 120 + 4 * 120
    assert sum(shown.layers.values()) < shown.bytes
    assert shown.quantised_weights["per_channel"] >= 4


def test_files_are_timed_in_turn(int8_file):
    first, second = benchmark([int8_file, int8_file], threads=[1], repeats=20)
    assert 0 < first.median_ms <= first.p95_ms
    assert first.ratio == 1
    assert second.ratio == pytest.approx(second.median_ms / first.median_ms)
    for wrong in ({"repeats": 0}, {"threads": [0]}):
        with pytest.raises(RequestError, match="not possible"):
            benchmark([int8_file], **wrong)
    with pytest.raises(RequestError, match="at least one"):
        benchmark([])


def test_a_keras_model_takes_its_turn(digits_run, int8_file):
    file, model = benchmark([int8_file], run=digits_run.path, threads=[1], repeats=10)
    assert (file.kind, model.kind) == ("tflite", "keras")
    assert model.ratio == pytest.approx(model.median_ms / file.median_ms)


def test_a_float_file_of_others_is_given_pixels_as_its_metadata_says(digits_run, tmp_path):
    """A file whose model wants (pixel - 100) / 50: made from ours by saying so; scores differ as the pixels do."""
    out = tmp_path / "digits.tflite"
    export(digits_run, to="float32", out=out)
    ours = TFLiteFile(out)
    tree = deepcopy(ours.metadata)
    tree["subgraph_metadata"][0]["input_tensor_metadata"][0]["process_units"][0]["options"] = {
        "mean": [100.0],
        "std": [0.5],
    }
    content = read_content(out)
    bare = content[: content.index(b"PK\x03\x04")]
    (tmp_path / "theirs.tflite").write_bytes(
        metadata.append_files(metadata.insert(bare, metadata.encode(tree)), {"labels.txt": "\n".join("abcdefghij")})
    )
    theirs = TFLiteFile(tmp_path / "theirs.tflite")
    image = np.full((1, 32, 32, 1), 120, np.uint8)
    assert theirs.labels == tuple("abcdefghij")
    np.testing.assert_allclose(theirs.predict(image), ours.predict(np.full_like(image, 40)), atol=1e-6)


def test_labels_that_do_not_fit_and_bombs_are_refused(int8_file, tmp_path, monkeypatch):
    content = read_content(int8_file)
    bare = content[: content.index(b"PK\x03\x04")]
    file = tmp_path / "few.tflite"
    file.write_bytes(metadata.append_files(bare, {"labels.txt": "one\ntwo\n"}))
    with pytest.raises(RequestError, match="2 labels for 10 scores"):
        TFLiteFile(file)
    monkeypatch.setattr(metadata, "MAX_ATTACHED", 4)
    with pytest.raises(RequestError, match="attached"):
        TFLiteFile(file)


def test_an_attached_bomb_is_refused_unopened(int8_file, tmp_path):
    content, file = read_content(int8_file), tmp_path / "bomb.tflite"
    file.write_bytes(content[: content.index(b"PK\x03\x04")])
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", bytes(2**27))
    assert file.stat().st_size < 2 * len(content) + 2**18
    with pytest.raises(RequestError, match=r"bomb\.tflite has more than 16 MiB attached"):
        TFLiteFile(file)


@pytest.mark.parametrize("facts", ["[]", "{", "[" * 100_000])
def test_attached_facts_that_are_none_are_damage(int8_file, tmp_path, facts):
    content, file = read_content(int8_file), tmp_path / "odd.tflite"
    bare = content[: content.index(b"PK\x03\x04")]
    file.write_bytes(metadata.append_files(bare, {"labels.txt": "\n".join("abcdefghij"), "convzoo.json": facts}))
    with pytest.raises(RequestError, match=r"odd\.tflite is truncated or damaged"):
        TFLiteFile(file)


def test_attached_files_that_cannot_be_unpacked_are_told_in_one_line(int8_file, tmp_path):
    content = bytearray(read_content(int8_file))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.rfind(mark)
        content[place + offset] |= 1  # says that it is encrypted
    (tmp_path / "encrypted.tflite").write_bytes(content)
    with pytest.raises(RequestError, match=r"encrypted\.tflite: what is attached to it cannot be read"):
        TFLiteFile(tmp_path / "encrypted.tflite")


def test_a_file_that_is_not_from_an_image_to_scores_is_refused(tmp_path):
    import keras

    inputs = keras.Input((7,))
    model, file = keras.Model(inputs, keras.layers.Dense(3)(inputs)), tmp_path / "row.tflite"
    with native_output_hidden():
        model.export(
            file, format="litert", input_signature=[keras.InputSpec(shape=(1, 7), dtype="float32")], verbose=False
        )
    with pytest.raises(RequestError, match=r"takes \[.*7\]; allowed: one image"):
        TFLiteFile(file)


@pytest.fixture(scope="session")
def colour_run(trained):
    """MediaPipe takes colour images only: a small run on the digits as RGB."""
    return trained("lenet5", "epochs=2", "model.input_shape=[32,32,3]")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic", "int8"])
def test_mediapipe_names_what_predict_names(colour_run, tmp_path, kind):
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    out = tmp_path / "digits.tflite"
    export(colour_run, to=kind, out=out)
    options = vision.ImageClassifierOptions(BaseOptions(model_asset_path=str(out)), max_results=1)
    images, file = colour_run.load_data().test.images[:100], TFLiteFile(out)
    scores = file.predict(images)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image, ours in zip(images, scores, strict=True):
            pixels = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(image))
            (guess,) = classifier.classify(pixels).classifications[0].categories
            assert guess.category_name == file.labels[ours.argmax()]
            assert guess.score == pytest.approx(ours.max(), abs=1e-3)
