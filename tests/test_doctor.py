"""What `zoo data check` finds in real folders, that it finds it once, and that it changes nothing."""

import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import bomb, class_folders, noise, save, table
from PIL import Image, ImageEnhance

import cli
from recipes.data import load
from recipes.data.checks import duplicates, examine
from recipes.data.checks.doctor import check
from recipes.data.checks.findings import BAD_FILE, BAD_SET, REMARKS
from recipes.data.decoding import Look
from recipes.data.readers import open_reader
from zoo.errors import RequestError


def kinds(report):
    return {finding.kind for finding in report.findings}


def by_name(report):
    return {(Path(finding.path).name, finding.kind) for finding in report.findings}


@pytest.fixture
def folder(tmp_path):
    return class_folders(tmp_path / "photos", {"cat": 24, "dog": 24})


def test_a_clean_folder_has_no_findings(folder):
    report = check(str(folder))
    assert report.findings == ()
    assert (report.images, report.class_names, report.errors) == (48, ("cat", "dog"), 0)


def test_every_damaged_file_is_found_by_path_and_kind(folder):
    whole = save(noise(900, (64, 64)), folder / "cat" / "whole.jpg").read_bytes()
    (folder / "cat" / "cut off.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cat" / "nothing.png").write_bytes(b"")
    (folder / "dog" / "text.png").write_text("not an image")
    (folder / "dog" / "bömbe.PNG").write_bytes(bomb(10_000, 10_000))
    (folder / "dog" / "notes.txt").write_text("not meant as an image")
    (folder / "dog" / ".DS_Store").write_bytes(b"litter")
    report = check(str(folder))
    assert by_name(report) == {
        ("cut off.jpg", "truncated"),
        ("nothing.png", "empty"),
        ("text.png", "undecodable"),
        ("bömbe.PNG", "bomb"),
        ("notes.txt", "ignored"),
    }
    assert report.errors == 4
    assert "89 million" in next(finding.detail for finding in report.findings if finding.kind == "bomb")


def test_what_is_converted_is_said(folder):
    save(noise(901).convert("CMYK"), folder / "cat" / "cmyk.jpg")
    save(Image.fromarray(np.asarray(noise(902, mode="L")).astype(np.uint16) * 257), folder / "cat" / "deep.png")
    save(noise(903).convert("P"), folder / "cat" / "palette.png")
    clear = noise(904)
    clear.putalpha(100)
    save(clear, folder / "cat" / "alpha.png")
    save(noise(905), folder / "dog" / "moving.gif", save_all=True, append_images=[noise(906)])
    report = check(str(folder))
    assert report.errors == 0
    details = {Path(f.path).name: f.detail for f in report.findings if f.kind == "mode"}
    assert details.keys() == {"cmyk.jpg", "deep.png", "palette.png", "alpha.png", "moving.gif"}
    for name, word in (
        ("cmyk.jpg", "CMYK"),
        ("deep.png", "16 bits"),
        ("palette.png", "palette"),
        ("alpha.png", "white"),
    ):
        assert word in details[name]
    assert ("moving.gif", "animated") in by_name(report)


def test_copies_are_found_exact_and_near(folder):
    original = noise(907, (80, 60))
    save(original, folder / "cat" / "original.png")
    (folder / "cat" / "same.png").write_bytes((folder / "cat" / "original.png").read_bytes())
    save(original, folder / "cat" / "small.jpg", quality=80)
    save(original.resize((40, 30)), folder / "cat" / "smaller.png")
    save(ImageEnhance.Brightness(original).enhance(0.8), folder / "cat" / "darker.png")
    (folder / "dog" / "wrong class.png").write_bytes((folder / "cat" / "original.png").read_bytes())
    found = by_name(check(str(folder)))
    named = {(name, kind) for name, kind in found if kind != "sizes"}
    assert {kind for _, kind in named} == {"duplicate", "near_duplicate", "conflict"}
    assert ("wrong class.png", "conflict") in named or ("original.png", "conflict") in named
    alike = {name for name, kind in named if kind == "near_duplicate"}
    assert alike < {"original.png", "small.jpg", "smaller.png", "darker.png"}  # each but the one they look like
    assert len(alike) == 3


def test_the_same_image_in_train_and_test_is_an_error(tmp_path):
    root = tmp_path / "parts"
    class_folders(root / "train", {"cat": 24, "dog": 24})
    class_folders(root / "test", {"cat": 5, "dog": 5}, first_seed=100)
    copy = (root / "test" / "cat" / "0.png").read_bytes()
    (root / "train" / "cat" / "leak.png").write_bytes(copy)
    save(noise(106, (48, 40)), root / "train" / "dog" / "alike.png")  # test/dog/1, twice as large
    report = check(str(root))
    assert ("leak.png", "leak") in by_name(report)
    assert ("alike.png", "near_leak") in by_name(report)
    assert report.errors == 1
    with pytest.raises(RequestError, match=r"leak\.png"):
        load(str(root), image_shape=(8, 8, 3))
    data = load(str(root), image_shape=(8, 8, 3), skip_bad=True)
    assert not any(file.endswith("leak.png") for file in data.train.files)
    assert [finding.kind for finding in data.skipped] == ["leak"]
    assert len(data.test) == 10


@pytest.mark.parametrize(
    ("counts", "kind"), [({"cat": 24, "dog": 0}, "empty_class"), ({"cat": 24, "dog": 2}, "too_few")]
)
def test_classes_without_enough_images_are_errors_and_named(tmp_path, counts, kind):
    root = class_folders(tmp_path / "photos", counts)
    found = [finding for finding in check(str(root)).findings if finding.is_error]
    assert [(finding.path, finding.kind) for finding in found] == [(str(root / "dog"), kind)]
    with pytest.raises(RequestError, match="dog"):
        load(str(root), image_shape=(8, 8, 3))


def test_few_images_and_imbalance_are_remarks(tmp_path):
    root = class_folders(tmp_path / "photos", {"cat": 60, "dog": 5})
    save(noise(1000, (400, 300)), root / "cat" / "large.png")
    report = check(str(root))
    assert kinds(report) == {"few", "imbalance", "sizes"}
    assert report.errors == 0
    assert load(str(root), image_shape=(8, 8, 3)).sizes["train"] > 0


def test_a_class_that_training_does_not_have_is_an_error(tmp_path):
    class_folders(tmp_path / "train", {"cat": 24, "dog": 24})
    class_folders(tmp_path / "val", {"cat": 3, "cow": 3}, first_seed=100)
    report = check(str(tmp_path))
    assert (str(tmp_path / "val" / "cow"), "unknown_class") in {(f.path, f.kind) for f in report.findings}


def test_links_that_stay_inside_are_followed_and_others_are_not(folder, tmp_path):
    outside = save(noise(908), tmp_path / "elsewhere" / "private.png")
    save(noise(909), folder / "cat" / "deep er" / "nested.PNG")
    (folder / "dog" / "inside.png").symlink_to(folder / "cat" / "deep er" / "nested.PNG")
    (folder / "dog" / "outside.png").symlink_to(outside)
    (folder / "dog" / "folder outside").symlink_to(tmp_path / "elsewhere")
    (folder / "dog" / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / "dog" / "circle").symlink_to(folder)
    report = check(str(folder))
    found = by_name(report)
    assert {("outside.png", "outside"), ("folder outside", "outside"), ("nowhere.png", "broken_link")} <= found
    assert ("circle", "ignored") in found
    assert ("inside.png", "conflict") in found or ("nested.PNG", "conflict") in found
    assert not any("private" in finding.path for finding in report.findings)


def test_nothing_in_the_folder_is_changed(folder):
    (folder / "cat" / "broken.png").write_bytes(b"")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}
    check(str(folder))
    load(str(folder), image_shape=(8, 8, 3), skip_bad=True)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(folder.rglob("*"))}


def test_a_file_is_opened_again_only_if_it_changed(folder, monkeypatch):
    opened = []
    real = examine.look
    monkeypatch.setattr(examine, "look", lambda path: opened.append(Path(path).name) or real(path))
    first = check(str(folder))
    assert len(opened) == 48
    opened.clear()
    assert check(str(folder)) == first
    assert opened == []
    time.sleep(0.01)
    save(noise(910), folder / "cat" / "3.png")
    check(str(folder))
    assert opened == ["3.png"]


def test_a_damaged_or_forbidden_cache_is_no_obstacle(folder, tmp_path, monkeypatch, capsys):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "files.sqlite").write_text("this is no database")
    monkeypatch.setenv("CONVZOO_CACHE", str(cache))
    assert check(str(folder)).findings == ()
    assert "files are looked at again" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "file" / "cache"))
    assert check(str(folder)).findings == ()
    assert load(str(folder), image_shape=(8, 8, 3)).sizes == {"train": 34, "validation": 4, "test": 10}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_names_that_are_not_text_are_reported_and_printable(folder, capsys):
    Path(os.fsdecode(os.fsencode(folder / "cat") + b"/\xff.png")).write_bytes(b"")
    report = check(str(folder))
    assert kinds(report) == {"name"}
    assert cli.main(["data", "check", str(folder)]) == 1
    assert "\\udcff" in capsys.readouterr().out


def test_the_command_prints_findings_and_its_code_says_whether_there_are_errors(folder, capsys):
    assert cli.main(["data", "check", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    (folder / "cat" / "broken.png").write_bytes(b"")
    assert cli.main(["data", "check", str(folder), "--json"]) == 1
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding.keys() == {"path", "kind", "detail"}
    assert finding["path"] == str(folder / "cat" / "broken.png")
    assert finding["kind"] == "empty"
    assert cli.main(["data", "check", str(folder)]) == 1
    assert "48 images of 2 classes can be used; 1 error, 0 remarks." in capsys.readouterr().out
    assert cli.main(["data", "check", str(folder / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_tensorflow_is_not_imported_for_a_folder(folder):
    code = (
        "import sys, cli\n"
        f"assert cli.main(['data', 'check', {str(folder)!r}]) == 0\n"
        "assert not {'tensorflow.python', 'keras.src', 'tensorflow_datasets.core'} & set(sys.modules), 'heavy'\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(cli.__file__).parent, check=True, capture_output=True)


def test_tables_and_arrays_are_checked_too(folder, tmp_path):
    file = table(tmp_path / "table.csv", "file,label", [f"photos/cat/{n}.png,{'ab'[n % 2]}" for n in range(30)])
    report = check(str(file))
    assert [finding.kind for finding in report.findings if finding.is_error] == ["missing"] * 6
    assert report.class_names == ("a", "b")


def test_every_kind_belongs_to_one_sort():
    assert not (BAD_FILE & BAD_SET | BAD_FILE & REMARKS | BAD_SET & REMARKS)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.lists(st.integers(0, 59), max_size=20))
def test_near_finds_what_comparing_every_pair_finds(seed, count, copied):
    random = np.random.default_rng(seed)
    thumbnails = random.integers(0, 256, (count, 16, 18)).astype(np.uint8)
    for number, row in enumerate(copied):
        noisy = thumbnails[row % count].astype(int) + random.integers(-9, 10, (16, 18))
        thumbnails[number % count] = noisy.clip(0, 255)
    together = duplicates.near(thumbnails)
    hashes = duplicates.difference_hashes(thumbnails)
    alike = np.corrcoef(thumbnails.reshape(count, -1)) >= duplicates.LEAST_CORRELATION
    close = np.bitwise_count(hashes[:, None] ^ hashes[None]) <= duplicates.MOST_BITS
    expected = alike & close
    while (wider := expected @ expected > 0).sum() > expected.sum():  # copies of copies
        expected = wider
    assert np.array_equal(together[:, None] == together[None], expected)


def test_copies_are_looked_for_in_little_memory():
    """A float for each pixel of every thumbnail would take 1,152 bytes an image; a million images have to fit."""
    thumbnails = np.random.default_rng(0).integers(0, 256, (10_000, 16, 18), np.uint8)
    duplicates.near(thumbnails[:2])  # imports what it needs
    tracemalloc.start()
    try:
        assert len(np.unique(duplicates.near(thumbnails))) == 10_000
        assert tracemalloc.get_traced_memory()[1] / len(thumbnails) < 300  # beside the 288 of each thumbnail
    finally:
        tracemalloc.stop()


def test_what_is_found_of_a_file_takes_little_memory(tmp_path):
    """The 288 pixels of a thumbnail, and little more; no object a file."""
    folder = class_folders(tmp_path / "photos", {"cat": 150, "dog": 150})
    paths = open_reader(str(folder)).listing.paths
    found = examine.examine(paths, quiet=True)
    assert found.usable.all()
    columns = [value for value in vars(found.looks).values() if isinstance(value, np.ndarray)]
    assert sum(column.nbytes for column in columns) / len(paths) < 330
    assert sum(isinstance(one, Look) for one in gc.get_objects()) < 100


@given(
    seed=st.integers(0, 999), count=st.integers(1, 40), values=st.sampled_from([2, 256]), classes=st.integers(1, 600)
)
@settings(max_examples=50, deadline=None)
def test_thumbnails_are_told_apart_in_the_order_of_their_bytes(seed, count, values, classes):
    """The numbers of groups, and by them the split of a set, have always gone by it."""
    random = np.random.default_rng(seed)
    thumbnails = random.integers(0, values, (count, 16, 18)).astype(np.uint8)[random.integers(0, count, count)]
    labels = random.integers(0, classes, count)
    rows = np.concatenate([labels[:, None].view(np.uint8), thumbnails.reshape(count, -1)], axis=1)
    _, first, kind = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    found_first, found_kind = duplicates._kinds(thumbnails, labels)
    np.testing.assert_array_equal(found_first, first)
    np.testing.assert_array_equal(found_kind, kind.reshape(-1))
