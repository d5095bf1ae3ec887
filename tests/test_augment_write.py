"""`zoo augment write`: what is read back is what the augmentation gave, and has the labels and parts that it had."""

import csv
import os

import numpy as np
import pytest
from PIL import Image

import cli
from recipes.augment import Augment
from recipes.augment.write import DRAWN, SETTINGS, varied, write
from recipes.config.presets import load_augmentation
from recipes.data import load
from recipes.data.readers import Arrays, MemoryReader
from zoo.errors import FailureError, RequestError

TURNED = Augment(rotation=180, colour={"brightness": 0.2})
SHAPE = (8, 6, 3)
PARTS = ("train", "validation", "test")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (24, *SHAPE)).astype("uint8")


def table(folder, images, header, label):
    """A set with a table; image i is of part i % 3."""
    folder.mkdir()
    rows = [header]
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i}.png")
        rows.append([f"{i}.png", PARTS[i % 3], *label(i)])
    with open(folder / "set.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return str(folder / "set.csv")


def numbers(split):
    """The place in its part that each image had, by the name of its file."""
    return [int(os.path.basename(file).removesuffix(".png")) for file in split.files]


def agrees(before, written, augment, seed=0):
    """Every part that was written holds exactly what the augmentation gives, under its labels."""
    after = load(str(written.source), image_shape=before.train.images.shape[1:], quiet=True, purpose="score")
    assert after.task == before.task
    for part in PARTS:
        split, again = before.parts[part], after.parts[part]
        assert len(again) == written.sizes.get(part, 0)
        if not len(again):
            continue
        expected = np.concatenate([images for images, _ in varied(split.images, augment, part, seed)])
        order = numbers(again)
        assert sorted(order) == list(range(len(split)))
        np.testing.assert_array_equal(again.images, expected[order])
        for row, place in enumerate(order):
            label = after.label_kind.text(again.labels[row], after.class_names)
            assert label == before.label_kind.text(split.labels[place], before.class_names)
    return after


def test_a_set_of_classes_comes_back_bit_equal_in_its_parts(images, tmp_path):
    source = table(tmp_path / "set", images, ["file", "split", "label"], lambda i: [("b 1", "10", "9")[i // 3 % 3]])
    written = write(source, TURNED, tmp_path / "out", image_shape=SHAPE, seed=3, quiet=True)
    assert written.source == tmp_path / "out"
    assert written.sizes == {"train": 8, "validation": 8, "test": 8}
    before = load(source, image_shape=SHAPE, quiet=True)
    agrees(before, written, TURNED, seed=3)
    assert load_augmentation(str(tmp_path / "out" / SETTINGS)) == TURNED
    with open(tmp_path / "out" / DRAWN, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "split", "label", "from", "angle", "words"]
    assert len(rows) == 24
    assert all(-180 <= float(row["angle"]) <= 180 and f"{float(row['angle']):+.0f}°" in row["words"] for row in rows)
    assert {row["from"] for row in rows} == {f"{i}.png" for i in range(24)}


def test_a_part_alone_is_drawn_as_with_the_others_and_can_be_scored(images, tmp_path):
    source = table(tmp_path / "set", images, ["file", "split", "label"], lambda i: ["ab"[i // 3 % 2]])
    every = write(source, TURNED, tmp_path / "every", image_shape=SHAPE, quiet=True)
    test = write(source, TURNED, tmp_path / "test", image_shape=SHAPE, parts=["test"], quiet=True)
    assert test.sizes == {"test": 8}
    for file in (every.folder / "test").rglob("*.png"):
        assert file.read_bytes() == (test.folder / "test" / file.relative_to(every.folder / "test")).read_bytes()
    again = write(str(test.folder), Augment(), tmp_path / "again", image_shape=SHAPE, quiet=True)
    assert again.sizes == {"test": 8}
    with pytest.raises(RequestError, match="has no image in its part train; it has test"):
        write(str(test.folder), Augment(), tmp_path / "none", image_shape=SHAPE, parts=["train"], quiet=True)


@pytest.mark.parametrize(
    ("header", "label"),
    [
        (["label"], lambda i: ["|".join("abc"[k] for k in range(3) if (i // 3 + 1) >> k & 1)]),
        (["x", "y", "z"], lambda i: [i % 2, i // 2 % 2, int(not i)]),  # a class that no test image has
        (["label"], lambda i: [i / 7 + 0.5]),
        (["label"], lambda i: [("a/b", "con", ".x", "A", "a")[i // 3 % 5]]),  # classes that cannot be folders
    ],
)
def test_labels_that_no_folder_holds_come_back_from_a_table(images, tmp_path, header, label):
    source = table(tmp_path / "set", images, ["file", "split", *header], label)
    written = write(source, TURNED, tmp_path / "out", image_shape=SHAPE, quiet=True)
    assert written.source == tmp_path / "out" / "labels.csv"
    before = load(source, image_shape=SHAPE, quiet=True)
    assert agrees(before, written, TURNED).class_names == before.class_names


class InMemory(MemoryReader):
    called = "memory"

    def __init__(self, images, names):
        super().__init__("memory")
        self.given = images, names

    def read(self):
        images, names = self.given
        labels = np.arange(len(images)) // 3 % len(names)
        return Arrays({part: (images[i::3], labels[i::3]) for i, part in enumerate(PARTS)}, tuple(names))


@pytest.mark.parametrize(
    ("names", "lost"),
    [(["a?", " b"], "' b'"), (["a/b", "a|b"], "taken for multilabel"), (["1.5", "2/1"], ""), (["a", "A"], "")],
)
def test_labels_that_a_table_would_not_give_back_are_refused_and_nothing_is_left(images, tmp_path, names, lost):
    reader = InMemory(images, names)
    if not lost:
        agrees(load(reader), write(reader, TURNED, tmp_path / "out"), TURNED)
        return
    with pytest.raises(RequestError, match=f"memory has labels that a table would not give back: .*{lost}") as told:
        write(reader, TURNED, tmp_path / "out")
    assert "\n" not in str(told.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_of_classes_stays_one_whatever_they_are_called(images, tmp_path):
    for i, image in enumerate(images):
        folder = tmp_path / "set" / PARTS[i % 3] / ("a|?", " b")[i // 3 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    written = write(str(tmp_path / "set"), TURNED, tmp_path / "out", image_shape=SHAPE, quiet=True)
    after = agrees(load(str(tmp_path / "set"), image_shape=SHAPE, quiet=True), written, TURNED)
    assert after.class_names == (" b", "a|?")


def test_what_is_in_the_way_is_kept(images, tmp_path, no_room):
    source = table(tmp_path / "set", images, ["file", "split", "label"], lambda i: ["ab"[i // 3 % 2]])
    given = {"image_shape": SHAPE, "quiet": True}
    written = write(source, TURNED, tmp_path / "out", **given)
    before = {file: file.read_bytes() for file in written.folder.rglob("*") if file.is_file()}
    with pytest.raises(RequestError, match=r"already holds a set; .* --overwrite"):
        write(source, TURNED, tmp_path / "out", **given)
    with no_room(100), pytest.raises(FailureError, match="out cannot be written: File too large"):
        write(source, Augment(), tmp_path / "out", overwrite=True, **given)
    assert {file: file.read_bytes() for file in written.folder.rglob("*") if file.is_file()} == before
    write(source, Augment(), tmp_path / "out", overwrite=True, parts=["test"], **given)
    assert sorted(os.listdir(tmp_path / "out")) == [SETTINGS, DRAWN, "test"]
    assert sorted(os.listdir(tmp_path)) == ["out", "set"]
    for taken, why in (("set", "did not write; choose another"), ("set/0.png", "is a file; choose a folder")):
        with pytest.raises(RequestError, match=why):
            write(source, TURNED, tmp_path / taken, overwrite=True, **given)


@pytest.mark.slow
def test_the_command_says_what_it_came_to_and_what_is_not_possible(images, tmp_path, capsys):
    def told(*arguments):
        code = cli.main(["augment", "write", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out.strip(), err.strip()

    given = ("digits", "--recipe", "none", "--set", "rotation=180", "--quiet")
    load("digits", quiet=True)  # prepared, which prints
    capsys.readouterr()
    code, out, _ = told(*given, "--part", "test", "--out", tmp_path / "turned")
    assert (code, out) == (
        0,
        f"{tmp_path}/turned: test 1,000 images, varied once with none; --data {tmp_path}/turned takes them",
    )
    assert len(list((tmp_path / "turned" / "test").rglob("*.png"))) == 1000
    code, _, err = told(*given, "--part", "tset", "--out", tmp_path / "x")
    assert code == 2
    assert "unknown part 'tset': did you mean 'test'" in err
    code, _, err = told("digits", "--recipe", "strong", "--out", tmp_path / "x")
    assert code == 2
    assert "mixup and cutmix" in err
    code, _, err = told(tmp_path / "turned", "--recipe", "none", "--out", tmp_path / "x")
    assert code == 2
    assert "--input-shape" in err
    code, _, err = told(
        tmp_path / "turned", "--recipe", "none", "--input-shape", "28x28x1", "--out", tmp_path / "turned" / "x"
    )
    assert code == 2
    assert "choose another folder" in err
