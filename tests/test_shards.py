"""Packed sets: the images, their order and what is trained on them are those of the source, to the last bit."""

import csv
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from recipes.data import check, load, open_reader, pack, pixels, shards
from recipes.data.dataset import PARTS
from recipes.data.decoded import DecodedImages
from recipes.fit import fit
from recipes.training.model import BatchPart, training_batches
from recipes.training.resolving import resolve
from zoo.errors import FailureError, RequestError

SHAPE = (14, 12, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """48 images of three classes, PNG and JPEG, of different sizes, two of them copies of others."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for label, name in enumerate(("Ärger", "b", '"quoted", c')):
        (root / name).mkdir()
        for number in range(16):
            size = (random.integers(12, 30), random.integers(12, 30), 3)
            image = Image.fromarray(random.integers(60 * label, 60 * label + 100, size).astype(np.uint8))
            image.save(root / name / f"{number}.{'png' if number % 2 else 'jpg'}")
        shutil.copy(root / name / "1.png", root / name / "copy.png")
    return root


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "shards"
    assert sum(pack(folder.as_posix(), out, quiet=True).sizes.values()) == 51
    return out


@pytest.fixture(scope="module")
def digits(tmp_path_factory, prepared_data_folder):
    out = tmp_path_factory.mktemp("packed") / "digits"
    pack("digits", out, quiet=True)
    return out


def assert_same(one, other):
    assert one.class_names == other.class_names
    assert (one.task, one.image_shape) == (other.task, other.image_shape)
    for part in PARTS:
        mine, theirs = one.parts[part], other.parts[part]
        assert mine.labels.dtype == theirs.labels.dtype
        np.testing.assert_array_equal(mine.labels, theirs.labels)
        np.testing.assert_array_equal(np.asarray(mine.images), np.asarray(theirs.images))
        if mine.groups is not None and theirs.groups is not None:
            np.testing.assert_array_equal(mine.groups, theirs.groups)
        assert (mine.groups is None) == (theirs.groups is None)


@pytest.mark.parametrize("resize", ["fill", "fit", "stretch"])
@pytest.mark.parametrize("on_demand", [False, True])
def test_a_packed_folder_is_the_folder(folder, packed, resize, on_demand):
    given = {"image_shape": SHAPE, "resize": resize, "quiet": True}
    found = load(packed.as_posix(), on_demand=on_demand, **given)
    assert isinstance(found.train.images, DecodedImages) == on_demand
    assert_same(found, load(folder.as_posix(), **given))


def test_another_seed_is_another_split(folder, packed, tmp_path):
    pack(folder.as_posix(), tmp_path / "other", split_seed=3, quiet=True)
    other = load(str(tmp_path / "other"), image_shape=SHAPE, quiet=True)
    assert_same(other, load(folder.as_posix(), split_seed=3, image_shape=SHAPE, quiet=True))
    assert other.digests != load(packed.as_posix(), image_shape=SHAPE, quiet=True).digests


def test_pixels_are_packed_at_a_size_and_resized_as_they_were(folder, tmp_path):
    out = tmp_path / "small"
    pack(folder.as_posix(), out, image_shape=SHAPE, resize="fit", quiet=True)
    given = {"image_shape": SHAPE, "resize": "fit", "quiet": True}
    assert_same(load(str(out), **given), replace(load(folder.as_posix(), **given), image_shape=SHAPE))
    with pytest.raises(RequestError, match=r"packed with --resize fit: resize='fill' is not possible"):
        load(str(out), image_shape=SHAPE, quiet=True)


def test_arrays_are_packed_with_their_parts(digits):
    assert_same(load(digits.as_posix(), quiet=True), load("digits", quiet=True))


@pytest.mark.parametrize("task", ["multilabel", "regression", "groups"])
def test_tables_of_every_kind_are_packed(folder, tmp_path, task):
    files = sorted(folder.rglob("*.png"))
    random = np.random.default_rng(1)
    with open(tmp_path / "table.csv", "w", encoding="utf-8", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["file", "label", *(["group"] if task == "groups" else [])])
        for number, file in enumerate(files):
            label = {"multilabel": ["a|b", "a", "b|c"][number % 3], "regression": f"{random.normal():.3f}"}
            row = [file, label.get(task, "ab"[number % 2])]
            table.writerow([*row, f"patient {number // 3}"] if task == "groups" else row)
    source, out = str(tmp_path / "table.csv"), tmp_path / "shards"
    pack(source, out, split_near_duplicates=True, quiet=True)
    given = {"image_shape": SHAPE, "quiet": True}
    assert_same(load(str(out), **given), load(source, split_near_duplicates=True, **given))


def test_images_on_demand_read_like_an_array(packed):
    held = load(packed.as_posix(), image_shape=SHAPE, quiet=True).train
    lazy = load(packed.as_posix(), image_shape=SHAPE, on_demand=True, quiet=True).train
    assert (lazy.images.shape, lazy.images.dtype, lazy.images.ndim) == (held.images.shape, np.uint8, 4)
    random = np.random.default_rng(0)
    mask = random.random(len(held)) < 0.4
    for key in (0, -1, np.int64(3), slice(None), slice(2, 9, 3), slice(0, 0), mask, random.integers(0, len(held), 20)):
        np.testing.assert_array_equal(lazy.images[key], held.images[key])
    np.testing.assert_array_equal(np.stack(list(lazy.images)), held.images)
    np.testing.assert_array_equal(np.asarray(lazy[mask].images), held[mask].images)
    for one, other in zip(lazy.batches(7, seed=5), held.batches(7, seed=5), strict=True):
        np.testing.assert_array_equal(one[0], other[0])
    with pytest.raises(IndexError):
        lazy.images[len(held)]


def test_shards_are_begun_anew_when_they_are_full(folder, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 3_000)
    written = pack(folder.as_posix(), tmp_path / "many", quiet=True)
    assert written.shards == len(list((tmp_path / "many").glob("*.arrayrecord"))) > 5
    given = {"image_shape": SHAPE, "on_demand": True, "quiet": True}
    assert_same(load(str(tmp_path / "many"), **given), load(packed.as_posix(), **given))


@pytest.mark.slow
def test_a_training_is_the_same_to_the_last_bit(folder, packed, tmp_path, monkeypatch):
    sets = ["epochs=2", "model.input_shape=[32,32,1]", "augment=natural", "batch_size=8"]
    given = {"recipe": "quick", "overrides": sets, "quiet": True}
    one = fit("lenet5", data=folder.as_posix(), out=tmp_path / "folder", **given)
    two = fit("lenet5", data=packed.as_posix(), out=tmp_path / "packed", **given)
    monkeypatch.setattr(pixels, "MEMORY", 1_000)
    monkeypatch.setattr(pixels, "KEPT", 1_000)
    for source, name in ((folder, "lazy folder"), (packed, "lazy shards")):
        lazy = fit("lenet5", data=source.as_posix(), out=tmp_path / name, **given)
        assert isinstance(lazy.run.load_data().train.images, DecodedImages)
        assert_same_weights(lazy, one)
    assert_same_weights(two, one)
    for metrics in (one.metrics, two.metrics):
        del metrics["worst_mistakes"], metrics["examples_digest"]  # which are of the names of files, too
    assert two.metrics == one.metrics


def assert_same_weights(one, other):
    for mine, theirs in zip(one.run.load_model().weights, other.run.load_model().weights, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy(), err_msg=mine.path)


@pytest.mark.parametrize("workers", [2, 5])
def test_each_worker_reads_its_own_share_only(digits, workers):
    recipe = resolve("lenet5", digits.as_posix(), "quick", ["batch_size=500", "epochs=1"])
    seen = []
    for rank in range(workers):
        reader = open_reader(digits.as_posix())
        train = load(reader, on_demand=True, quiet=True).train
        assert reader.shards.bytes_read == 0  # nothing is opened before it is asked for
        batches = training_batches(train, recipe, 10, part=BatchPart(rank, 1, workers))
        seen += [labels for _, labels in batches]
        assert reader.shards.bytes_read == 3_500 * 28 * 28 / workers
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.sort(train.labels))


def test_a_packed_set_is_checked_like_any_other(packed):
    result = check(packed.as_posix(), quiet=True)
    assert (result.images, result.errors, len(result.class_names)) == (51, 0, 3)
    assert sum(finding.kind == "duplicate" for finding in result.findings) == 3


def test_what_stands_in_the_way_is_told_before_anything_is_written(folder, packed, tmp_path):
    given = {"quiet": True}
    with pytest.raises(RequestError, match=r"already holds a set.*--overwrite"):
        pack(folder.as_posix(), packed, **given)
    with pytest.raises(RequestError, match="would be a class of it"):
        pack(folder.as_posix(), folder / "shards", **given)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match="did not write"):
        pack(folder.as_posix(), tmp_path / "taken", overwrite=True, **given)
    with pytest.raises(RequestError, match="task='regression' is not possible"):
        load(packed.as_posix(), task="regression", image_shape=SHAPE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]


def test_a_full_disk_leaves_nothing(folder, tmp_path, no_room):
    with no_room(2_000), pytest.raises(FailureError, match="cannot be written"):
        pack(folder.as_posix(), tmp_path / "shards", quiet=True)
    assert not list(tmp_path.iterdir())


def test_damage_is_one_line_that_names_the_image(packed, tmp_path):
    broken = tmp_path / "shards"
    shutil.copytree(packed, broken)
    shard = broken / shards.name_of(0)
    content = bytearray(shard.read_bytes())
    record = open_reader(packed.as_posix()).shards.record(7)
    content[content.index(record) + len(record) // 2] ^= 1
    shard.write_bytes(content)
    reader = open_reader(str(broken))
    with pytest.raises(FailureError, match=r"is damaged: image 7 \(.+\.(jpg|png)\)"):
        reader.shards.record(7)
    (broken / shards.NAMES).write_bytes(b"[" * 100_000)  # then the number has to do
    with pytest.raises(FailureError, match=r"is damaged: image 7 \(7\)"):
        reader.shards.record(7)
    shard.unlink()
    with pytest.raises((RequestError, FailureError), match=re.escape(shard.name)):
        open_reader(str(broken)).shards.record(0)


def test_no_damage_is_a_traceback_or_another_image(packed, tmp_path):
    """Of bytes changed, cut off and put in, in each file: the same images come out, or one line does."""
    random, broken, refused = np.random.default_rng(0), tmp_path / "shards", []
    good = np.asarray(load(packed.as_posix(), image_shape=SHAPE, quiet=True).train.images)
    for turn in range(60):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(packed, broken)
        file = broken / (shards.HEADER, shards.INDEX, shards.NAMES, shards.name_of(0))[turn % 4]
        content = bytearray(file.read_bytes())
        place = int(random.integers(0, len(content)))
        if turn % 3 == 0:
            content[place] = int(random.integers(0, 256))
        elif turn % 3 == 1:
            del content[place:]
        else:
            content[place:place] = random.bytes(9)
        file.write_bytes(content)
        try:
            found = np.asarray(load(str(broken), image_shape=SHAPE, on_demand=True, quiet=True).train.images)
        except (RequestError, FailureError) as error:
            refused.append(str(error))
        else:
            np.testing.assert_array_equal(found, good)
    assert 20 < len(refused) < 60
    assert not [line for line in refused if "\n" in line]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 9}, "version 9"),
        ({"task": "segmentation"}, "'segmentation'"),
        ({"counts": [10**12]}, "damaged"),
        ({"counts": [-1]}, "damaged"),
        ({"class_names": ["a"]}, "damaged"),
        ({"pixels": [0, 1, 1]}, "damaged"),
        ({"more": 1}, "shards.json"),
    ],
)
def test_a_header_that_is_not_the_index_s(packed, tmp_path, change, why):
    broken = tmp_path / "shards"
    shutil.copytree(packed, broken)
    header = json.loads((broken / shards.HEADER).read_text("utf-8"))
    (broken / shards.HEADER).write_text(json.dumps(header | change), "utf-8")
    with pytest.raises(RequestError, match=why):
        load(str(broken), image_shape=SHAPE, quiet=True)
