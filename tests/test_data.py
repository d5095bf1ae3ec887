"""Every source of images gives the same thing, in parts that are drawn once and can be had again."""

import csv
import gzip
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import class_folders, noise, save, table
from PIL import Image

from recipes.data import check, check_source, class_weights, load, open_reader, pixels, splits
from recipes.data.dataset import PARTS
from recipes.data.decoded import DecodedImages
from recipes.data.decoding import read, to_array
from recipes.data.readers.folder import FolderReader
from zoo.errors import FailureError, RequestError

SHAPE = (8, 10, 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "cache"))  # what other tests kept must not be found
    return class_folders(tmp_path / "photos", {"Ärger": 20, "blue sky": 30})


def rows_of(data):
    return {part: getattr(data, part).files for part in PARTS}


def same(one, other):
    return all(
        np.array_equal(getattr(one, part).images, getattr(other, part).images)
        and np.array_equal(getattr(one, part).labels, getattr(other, part).labels)
        for part in PARTS
    )


def keep(data, path):
    rows = data.split_table()
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_folder_of_class_folders(folder):
    save(noise(500), folder / "blue sky" / "one folder" / "deeper" / "IMAGE.JPG")
    data = load(str(folder), image_shape=SHAPE)
    assert data.class_names == ("blue sky", "Ärger")
    assert data.task == "classification"
    assert data.sizes == {"train": 37, "validation": 4, "test": 10}
    assert data.image_shape == (20, 24, 3)
    for part in PARTS:
        split = getattr(data, part)
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), *SHAPE)
        assert split.labels.dtype == np.int64
        for file, label, image in zip(split.files, split.labels, split.images, strict=True):
            assert data.class_names[label] in Path(file).parts
            assert np.array_equal(image, to_array(read(file), SHAPE))  # as `predict` would read it
    assert not set(data.train.files) & set(data.test.files)
    assert "deeper" in " ".join(sum(rows_of(data).values(), ()))


def test_parts_are_drawn_by_seed_and_stratified(folder):
    one, again, other = (load(str(folder), image_shape=SHAPE, split_seed=seed) for seed in (3, 3, 4))
    assert rows_of(one) == rows_of(again)
    assert same(one, again)
    assert rows_of(one) != rows_of(other)
    assert np.bincount(one.test.labels).tolist() == [6, 4]


def test_a_folder_with_parts_keeps_them_and_cuts_what_is_missing(tmp_path):
    class_folders(tmp_path / "Train", {"a": 20, "b": 20})
    class_folders(tmp_path / "test", {"a": 4, "b": 4}, first_seed=100)
    data = load(str(tmp_path), image_shape=SHAPE)
    assert data.sizes == {"train": 36, "validation": 4, "test": 8}
    assert all("test" in Path(file).parts for file in data.test.files)
    class_folders(tmp_path / "valid", {"a": 3, "b": 3}, first_seed=200)
    assert load(str(tmp_path), image_shape=SHAPE).sizes == {"train": 40, "validation": 6, "test": 8}


def test_a_class_may_be_called_train(tmp_path):
    class_folders(tmp_path, {"train": 8, "car": 8})
    assert load(str(tmp_path), image_shape=SHAPE).class_names == ("car", "train")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "no class folders"),
        (["train/a", "test/a", "cows"], "not both"),
        (["train/a", "val/a", "validation/a"], "twice"),
        (["train/a", "test"], "no class folders"),
    ],
)
def test_folders_that_cannot_be_told_are_refused(tmp_path, folders, message):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(RequestError, match=message):
        load(str(tmp_path), image_shape=SHAPE)


def test_copies_of_an_image_stay_in_one_part(folder):
    for number in range(5):
        for copy in range(4):
            shutil.copy(folder / "blue sky" / f"{number}.png", folder / "blue sky" / f"{number} copy {copy}.png")
    for seed in range(5):
        data = load(str(folder), image_shape=SHAPE, split_seed=seed)
        parts = {}
        for part, files in rows_of(data).items():
            for file in files:
                parts.setdefault(Path(file).read_bytes(), set()).add(part)
        assert all(len(where) == 1 for where in parts.values())


def test_a_kept_split_gives_the_same_images_after_others_came(folder, tmp_path):
    data = load(str(folder), image_shape=SHAPE, split_seed=2)
    kept = keep(data, tmp_path / "split.csv")
    class_folders(folder, {"blue sky": 40, "another": 5}, first_seed=300, ending=".bmp")
    again = load(str(folder), image_shape=SHAPE, split_seed=2, split_table=kept)
    assert rows_of(again) == rows_of(data)
    assert same(again, data)
    assert again.class_names == data.class_names
    moved = folder.rename(tmp_path / "moved")
    assert same(load(str(moved), image_shape=SHAPE, split_table=kept), data)
    Path(moved / "blue sky" / "0.png").unlink()
    with pytest.raises(RequestError, match=r"0\.png.*not there any more"):
        load(str(moved), image_shape=SHAPE, split_table=kept)


def test_split_tables_that_are_none_are_refused(folder, tmp_path):
    for text in ("", "file,split\na,train\n", "file,split,label\na,somewhere,b\n"):
        (tmp_path / "split.csv").write_text(text)
        with pytest.raises(RequestError, match=r"split\.csv"):
            load(str(folder), image_shape=SHAPE, split_table=tmp_path / "split.csv")


def test_bad_files_stop_a_training_unless_they_are_to_be_skipped(folder):
    for number in range(7):
        (folder / "Ärger" / f"bad {number}.png").write_bytes(b"")
    with pytest.raises(RequestError, match=r"7 files cannot be used.*bad 0\.png \(empty\).*2 more.*--skip-bad"):
        load(str(folder), image_shape=SHAPE)
    data = load(str(folder), image_shape=SHAPE, skip_bad=True)
    assert [Path(finding.path).name for finding in data.skipped] == [f"bad {number}.png" for number in range(7)]
    assert sum(data.sizes.values()) == 50


def test_skipping_that_empties_a_class_is_an_error(folder):
    (folder / "zebra").mkdir()
    (folder / "zebra" / "bad.png").write_bytes(b"")
    with pytest.raises(RequestError, match=r"zebra.*without any image"):
        load(str(folder), image_shape=SHAPE, skip_bad=True)


def test_images_are_decoded_once_and_kept_by_content(folder, monkeypatch):
    decoded = []
    real = pixels.decode_to
    monkeypatch.setattr(pixels, "decode_to", lambda path, *a, **k: decoded.append(path) or real(path, *a, **k))
    first = load(str(folder), image_shape=SHAPE)
    assert len(decoded) == 50
    assert same(load(str(folder), image_shape=SHAPE), first)
    load(str(folder), image_shape=SHAPE, split_seed=1)
    assert len(decoded) == 50
    load(str(folder), image_shape=SHAPE, resize="fit")
    assert len(decoded) == 100
    Image.new("RGB", (24, 20), "red").save(folder / "Ärger" / "0.png")
    changed = load(str(folder), image_shape=SHAPE)
    assert len(decoded) == 150
    red = [image for part in PARTS for image in getattr(changed, part).images if (image == (255, 0, 0)).all()]
    assert len(red) == 1


def test_what_does_not_fit_into_memory_is_mapped_from_disk_and_trains_alike(folder, monkeypatch, capsys):
    held = load(str(folder), image_shape=SHAPE)
    monkeypatch.setattr(pixels, "MEMORY", 1000)
    mapped = load(str(folder), image_shape=SHAPE)
    assert "do not fit into memory: kept in" in capsys.readouterr().err
    assert isinstance(mapped.train.images, np.memmap)
    assert same(mapped, held)
    for seed in (None, 5):
        for one, other in zip(held.train.batches(7, seed=seed), mapped.train.batches(7, seed=seed), strict=True):
            assert np.array_equal(one[0], other[0])
            assert np.array_equal(one[1], other[1])


def test_without_space_on_disk_images_are_decoded_whenever_they_are_used(folder, monkeypatch, capsys):
    monkeypatch.setattr(pixels.shutil, "disk_usage", lambda path: SimpleNamespace(total=1, used=1, free=0))
    assert load(str(folder), image_shape=(9, 9, 3)).sizes["test"] == 10
    assert "decoded again next time" in capsys.readouterr().err
    monkeypatch.setattr(pixels, "MEMORY", 1000)
    held = load(str(folder), image_shape=(9, 9, 3))
    assert "decoded whenever it is used" in capsys.readouterr().err
    assert isinstance(held.train.images, DecodedImages)
    monkeypatch.undo()
    assert same(held, load(str(folder), image_shape=(9, 9, 3)))


def test_the_cache_is_pruned_of_what_was_used_longest_ago(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pixels, "KEPT", 50 * 8 * 8 * 3 * 2 + 1000)
    for height in (6, 7, 8):
        load(str(folder), image_shape=(height, 8, 3))
    kept = sorted((tmp_path / "cache").glob("*.npy"), key=lambda file: file.stat().st_mtime)
    assert [np.load(file).shape[1] for file in kept] == [7, 8]


def test_pruning_leaves_alone_what_another_process_is_writing(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "KEPT", 0)
    (tmp_path / "cache").mkdir()
    being_written = [tmp_path / "cache" / f".{who}-a.pictures.npy" for who in ("123", "aside-0123456789abcdef")]
    abandoned = [tmp_path / "cache" / f".{who}-b.pictures.npy" for who in ("123", "aside-0123456789abcdef")]
    for file in (*being_written, *abandoned):
        file.write_bytes(b"half")
    for file in abandoned:
        os.utime(file, (0, 0))
    load(str(folder), image_shape=SHAPE)
    assert all(file.exists() for file in being_written)
    assert not any(file.exists() for file in abandoned)


def test_batches_hold_every_image_once_and_shuffle_anew(folder):
    data = load(str(folder), image_shape=SHAPE)
    dataset = data.train.batches(8, seed=1)
    epochs = [np.concatenate([images.numpy() for images, _ in dataset]) for _ in range(2)]
    assert len(epochs[0]) == len(data.train)
    assert not np.array_equal(*epochs)
    sums = [sorted(images.reshape(len(images), -1).sum(1, dtype=np.int64)) for images in (*epochs, data.train.images)]
    assert sums[0] == sums[1] == sums[2]


def test_unaligned_and_read_only_maps_are_read_too(tmp_path):
    from recipes.data.batches import gather_rows

    images = np.random.default_rng(0).integers(0, 256, (9, 5, 5, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    for mode, rows in (("r", slice(None)), ("c", slice(1, None)), ("c", slice(None))):
        mapped = np.load(tmp_path / "images.npy", mmap_mode=mode)[rows]
        assert np.array_equal(gather_rows(mapped)(np.asarray([3, 0, 3])), mapped[[3, 0, 3]])


def test_a_table_of_classes(tmp_path, folder):
    lines = [f"./photos/../photos/blue sky/{n}.png,{n % 3 * 9}" for n in range(30)]
    data = load(str(table(tmp_path / "t.csv", "file,label", lines)), image_shape=SHAPE)
    assert data.class_names == ("0", "9", "18")
    assert data.sizes == {"train": 21, "validation": 3, "test": 6}
    assert data.split_table()[0]["file"].startswith("photos/blue sky/")
    kept = keep(data, tmp_path / "split.csv")
    assert same(load(str(tmp_path / "t.csv"), image_shape=SHAPE, split_table=kept), data)


def test_a_table_with_parts_and_groups(tmp_path, folder):
    lines = [f"photos/blue sky/{n}.png\t{'xy'[n // 3 % 2]}\tpatient {n // 3}" for n in range(30)]
    file = table(tmp_path / "t.tsv", "file\tlabel\tgroup", lines)
    for seed in range(4):
        data = load(str(file), image_shape=SHAPE, split_seed=seed)
        groups = [{int(Path(name).stem) // 3 for name in files} for files in rows_of(data).values()]
        assert sum(map(len, groups)) == 10
    lines = [f"photos/blue sky/{n}.png,{'xy'[n % 2]},{('train', 'val', 'test')[n % 3]}" for n in range(30)]
    data = load(str(table(tmp_path / "t.csv", "file,label,split", lines)), image_shape=SHAPE)
    assert data.sizes == {"train": 10, "validation": 10, "test": 10}


def test_a_table_of_several_labels_or_numbers(tmp_path, folder):
    names = [f"photos/blue sky/{n}.png" for n in range(30)]
    piped = table(
        tmp_path / "p.csv", "file,label", [f"{name},{('a', 'a|b', '')[n % 3]}" for n, name in enumerate(names)]
    )
    columns = table(
        tmp_path / "c.csv", "file,a,b", [f"{name},{('1,0', '1,1', '0,0')[n % 3]}" for n, name in enumerate(names)]
    )
    one, other = (load(str(file), image_shape=SHAPE) for file in (piped, columns))
    assert one.task == other.task == "multilabel"
    assert one.class_names == other.class_names == ("a", "b")
    assert same(one, other)
    assert one.train.labels.dtype == np.float32
    assert one.train.labels.shape == (one.sizes["train"], 2)
    assert {row["label"] for row in one.split_table()} == {"a", "a|b", ""}
    numbers = table(tmp_path / "n.csv", "file;label", [f"{name};{n / 4}" for n, name in enumerate(names)])
    data = load(str(numbers), image_shape=SHAPE)
    assert (data.task, data.train.labels.dtype, data.train.labels.ndim) == ("regression", np.float32, 1)
    ages = table(tmp_path / "a.csv", "file,label", [f"{name},{n}" for n, name in enumerate(names)])
    assert load(str(ages), image_shape=SHAPE, task="regression").task == "regression"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("file,label\n", "no lines"),
        ("image,label\na,b\n", "no column `file`"),
        ("file,class\na,b\n", "no column `label`"),
        ("file,label\na\n", "line 2 has 1 columns"),
        ("file,label\n,b\n", "line 2 names no file"),
        ("file,label\na,\n", "line 2 has no label"),
        ("file,label\na,b\na,b\n", "line 3: a is already in line 2"),
        ("file,label,split\na,b,tset\n", "did you mean 'test'"),
        ("file,x,y\na,1,2\n", "line 2: y='2'"),
        ("file,file\na,b\n", "twice"),
        ("file,label,more\na,b,c\n", "also 'more'"),
        ('file,label\n"a,b\n', "not a table"),
    ],
)
def test_lines_that_are_wrong_are_named(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text, "utf-8")
    with pytest.raises(RequestError, match=message):
        load(str(tmp_path / "t.csv"), image_shape=SHAPE)


def test_numbers_that_are_none_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("file,label\na,1.5\nb,nan\n")
    with pytest.raises(RequestError, match="line 3: label 'nan'"):
        load(str(tmp_path / "t.csv"), image_shape=SHAPE)


def idx_file(path: Path, array: np.ndarray) -> Path:
    content = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_files(tmp_path, ending):
    random = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        idx_file(tmp_path / f"{part}-images-idx3-ubyte{ending}", random.integers(0, 256, (count, 6, 5), np.uint8))
        idx_file(tmp_path / f"{part}-labels-idx1-ubyte{ending}", (np.arange(count) % 3).astype(np.uint8))
    data = load(str(tmp_path))
    assert data.sizes == {"train": 54, "validation": 6, "test": 20}
    assert data.class_names == ("0", "1", "2")
    assert data.train.images.shape[1:] == data.image_shape == (6, 5, 1)
    assert load(str(tmp_path), image_shape=SHAPE).train.images.shape[1:] == SHAPE
    assert same(data, load(str(tmp_path)))


def test_idx_classes_are_the_labels_that_occur(tmp_path):
    for part, labels in (("train", [1, 5, 7] * 4), ("test", [7, 5])):
        idx_file(tmp_path / f"{part}-images-idx3-ubyte", np.zeros((len(labels), 4, 4), np.uint8))
        idx_file(tmp_path / f"{part}-labels-idx1-ubyte", np.asarray(labels, np.uint8))
    data = load(str(tmp_path))
    assert data.class_names == ("1", "5", "7")
    assert data.test.labels.tolist() == [2, 1]
    idx_file(tmp_path / "test-labels-idx1-ubyte", np.asarray([7, 6], np.uint8))
    with pytest.raises(RequestError, match="label 6"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1], "fewer bytes"),
        (lambda content: content + b"x", "more bytes"),
        (lambda content: b"PNG?" + content[4:], "not an IDX file"),
        (lambda content: content[:4] + b"\xff" * 12 + content[16:], "header says"),
        (lambda content: b"", "not an IDX file"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, change, message):
    images = idx_file(tmp_path / "train-images-idx3-ubyte", np.zeros((9, 4, 4), np.uint8))
    with pytest.raises(RequestError, match="no labels beside it"):
        load(str(tmp_path))
    idx_file(tmp_path / "train-labels-idx1-ubyte", np.arange(9, dtype=np.uint8) % 3)
    images.write_bytes(change(images.read_bytes()))
    with pytest.raises(RequestError, match=message) as caught:
        load(str(tmp_path))
    assert str(images) in str(caught.value)


def test_digits_are_as_they_were_and_come_at_once_the_second_time(monkeypatch):
    data = load("digits")
    assert data.sizes == {"train": 3500, "validation": 500, "test": 1000}
    assert data.image_shape == (28, 28, 1)
    assert (data.train.images.sum(), data.validation.images.sum()) == (91731109, 13317145)
    assert data.split_table() == []
    from recipes.data.readers.tfds import TfdsReader

    monkeypatch.setattr(TfdsReader, "examples", lambda self, part: pytest.fail("read again"))
    assert same(load("digits"), data)
    monkeypatch.undo()
    large = load("digits", image_shape=(32, 32, 3))
    assert large.test.images.shape == (1000, 32, 32, 3)
    with pytest.raises(RequestError, match="split table"):
        load("digits", split_table="split.csv")


def test_a_folder_that_tfds_wrote(prepared_data_folder):
    data = load("digits")
    written = prepared_data_folder / "digits" / "1.0.0"
    for source in (str(written), f"tfds:{written}"):
        assert same(load(source), data)


@pytest.mark.slow
def test_a_tfds_set_of_array_records_is_read_by_random_access(prepared_data_folder, tmp_path, monkeypatch):
    from recipes.data.readers.digits import _builder_class

    builder = _builder_class()(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    held = load(str(builder.data_path), quiet=True)
    assert same(held, load("digits"))
    lazy = load(str(builder.data_path), on_demand=True, quiet=True)
    assert isinstance(lazy.train.images, DecodedImages)
    assert same(lazy, held)
    assert lazy.digests != {}
    monkeypatch.setattr(pixels, "MEMORY", 1000)
    monkeypatch.setattr(pixels, "KEPT", 1000)
    assert isinstance(load(str(builder.data_path), quiet=True).train.images, DecodedImages)


@pytest.mark.slow
def test_a_prepared_builder_is_found_by_name_without_the_network(tmp_path, monkeypatch, prepared_data_folder):
    import tensorflow_datasets as tfds

    load("digits")
    shutil.copytree(prepared_data_folder / "digits", tmp_path / "some_set")
    for file in (tmp_path / "some_set" / "1.0.0").iterdir():
        if file.suffix == ".json":
            text = file.read_text().replace('"digits"', '"some_set"')
            file.write_text(text.replace("digits.Digits", "some_set.SomeSet"))
        else:
            file.rename(file.with_name(file.name.replace("digits", "some_set")))
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    assert load("tfds:some_set").sizes == {"train": 3500, "validation": 500, "test": 1000}
    assert load("tfds:some_set:1.0.0").sizes["test"] == 1000
    assert load("tfds:some_set@1.0.0").sizes["test"] == 1000
    with pytest.raises(RequestError, match="some_sat"):
        load("tfds:some_sat")


def test_what_cannot_be_downloaded_names_the_folder_looked_in(monkeypatch, prepared_data_folder):
    import tensorflow_datasets as tfds

    def offline(*args, **kwargs):
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    with pytest.raises(FailureError, match=r"no network$") as caught:
        load("tfds:mnist")
    assert str(prepared_data_folder) in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", "did you mean 'digits'"),
        ("tfds:", "unknown data"),
        ("no/such/folder", "does not exist"),
        ("photos.csv", "does not exist"),
        ("cli.py", "neither a folder nor a table"),
        ("a\0b", "."),
    ],
)
def test_what_names_no_data_is_refused_at_once(source, message):
    with pytest.raises(RequestError, match=message):
        check_source(source)


def test_a_source_is_parsed_without_being_opened(folder, tmp_path):
    """In a process of its own: nothing heavy is imported, and no class folder is listed."""
    file = table(tmp_path / "t.csv", "file,label", ["a.png,b"])
    sources = ["digits", "tfds:mnist/x:1.0.0", str(folder), str(file)]
    code = f"""
import os, sys
from recipes.data import open_reader
from recipes.data.readers import absolute_source
listed, real = [], os.scandir
os.scandir = lambda path=".": listed.append(path) or real(path)
print([type(open_reader(source)).__name__ for source in {sources!r}], *map(absolute_source, {sources!r}))
assert not any({str(folder)!r} + os.sep in str(path) for path in listed), listed
assert not {{"tensorflow", "tensorflow_datasets"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    kinds = ["DigitsReader", "TfdsReader", "FolderReader", "TableReader"]
    assert done.stdout.strip() == f"{kinds} {' '.join(sources)}"


def test_a_source_is_listed_once_by_whatever_takes_its_reader(folder, tmp_path, monkeypatch):
    listed = []
    real = FolderReader.list_files
    monkeypatch.setattr(FolderReader, "list_files", lambda self: listed.append(self.source) or real(self))
    reader, more = open_reader(str(folder)), class_folders(tmp_path / "more", {"cat": 20}, first_seed=400)
    check(reader, quiet=True)
    data = load(reader, also=[str(more)], image_shape=SHAPE)
    assert same(load(reader, also=[str(more)], image_shape=SHAPE, split_table=keep(data, tmp_path / "split.csv")), data)
    assert reader.class_names == ("blue sky", "Ärger")
    assert reader.parts == ()
    assert listed == [str(folder), str(more), str(more)]


@pytest.mark.parametrize("task", ["regression", "multilabel"])
def test_a_task_that_a_source_cannot_have_is_refused_at_once(folder, task):
    for source in ("digits", str(folder)):
        for look in (load, check):
            with pytest.raises(RequestError, match=f"of classes: task='{task}' is not possible"):
                look(source, task=task)
    with pytest.raises(RequestError, match="did you mean 'regression'"):
        open_reader(str(table(folder / "t.csv", "file,label", ["a,b"])), "regresion")


def test_a_folder_needs_a_size(folder):
    with pytest.raises(RequestError, match="image_shape"):
        load(str(folder))


def test_balanced_class_weights():
    assert class_weights(np.asarray([0, 0, 0, 1]), 2) == {0: 4 / 6, 1: 2.0}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(3, 40), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_every_class_is_in_every_part_and_every_row_in_one(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = splits.draw_parts({"train": np.arange(len(labels))}, labels, seed=seed)
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(len(labels)))
    for part in rows.values():
        assert len(np.unique(labels[part])) == len(counts)
    assert abs(len(rows["test"]) - 0.2 * len(labels)) <= len(counts)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), min_size=40, max_size=90), st.integers(0, 1000))
def test_what_belongs_together_is_never_parted(rows, seed):
    labels, together = np.asarray([label for label, _ in rows]), np.asarray([number for _, number in rows])
    for groups in (None, np.asarray([f"group {number}" for number in together])):
        copies = together if groups is None else None
        try:
            parts = splits.draw_parts(
                {"train": np.arange(len(rows))}, labels, seed=seed, together=copies, groups=groups
            )
        except RequestError:
            continue
        held = [set(together[part]) for part in parts.values()]
        assert sum(map(len, held)) == len(set(together))


@pytest.mark.slow
def test_keras_is_whole_after_data_was_loaded_first():
    """In a process of its own: what loads first decides who imports whom."""
    code = "from recipes.data import load; load('digits', quiet=True); import keras; keras.Model"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
