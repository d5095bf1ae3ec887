"""The cache gives what files have now, whatever was changed and however; what is damaged in it is made again."""

import mmap
import os
import shutil
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from images import class_folders, noise, save

from recipes.data import cache, identity, load
from recipes.data.checks.examine import examine
from recipes.data.decoding import ImageError, decode_to, digest_of, pillow_warnings
from recipes.run.folder import Run
from zoo.errors import RequestError

SHAPE = (12, 12, 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the cache is."""
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _in_place(path, new):
    with open(path, "r+b") as file:
        file.write(new)
        file.truncate()


def _mapped(path, new):
    with open(path, "r+b") as file:
        file.truncate(len(new))
        with mmap.mmap(file.fileno(), 0) as pages:
            pages[:] = new


def _replaced(path, new):
    aside = path.with_suffix(".new")
    aside.write_bytes(new)
    os.replace(aside, path)


def _linked(path, new):
    elsewhere = path.parent.parent.parent / "elsewhere" / f"{time.time_ns()}.bmp"
    elsewhere.parent.mkdir(exist_ok=True)
    elsewhere.write_bytes(new)
    path.unlink()
    os.link(elsewhere, path)


def _renamed_folder(path, new):
    other = path.parent.with_name("other")
    shutil.copytree(path.parent, other, copy_function=shutil.copy2)
    (other / path.name).write_bytes(new)
    shutil.rmtree(path.parent)
    other.rename(path.parent)


WAYS = [_in_place, _mapped, _replaced, _linked, _renamed_folder]


@pytest.mark.parametrize("settled", [60 * 10**9, 20 * 10**6])  # ns; with the shorter, files are believed unread
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(WAYS), st.sampled_from(["now", "kept", "back"]), st.integers(0, 3)), max_size=4
    )
)
def test_what_is_loaded_is_what_files_have_now(tmp_path_factory, monkeypatch, settled, changes):
    root = tmp_path_factory.mktemp("set")
    monkeypatch.setenv("CONVZOO_CACHE", str(root / "cache"))
    monkeypatch.setattr(identity, "SETTLED", settled)
    pics = class_folders(root / "pics", {"a": 4, "b": 4}, ending=".bmp")
    for seed, (change, stamp, number) in enumerate([*changes, (_in_place, "kept", 0)], 100):
        load(str(pics), image_shape=SHAPE, quiet=True)
        if settled < 10**9:
            time.sleep(0.03)
            examine([str(file) for file in pics.rglob("*.bmp")], quiet=True)
        path = pics / "a" / f"{number}.bmp"
        before = path.stat()
        change(path, save(noise(seed), root / "new.bmp").read_bytes())
        if stamp != "now":
            earlier = 0 if stamp == "kept" else 3_600 * 10**9
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - earlier))
    data = load(str(pics), image_shape=SHAPE, quiet=True)
    with pillow_warnings():
        for split in data.parts.values():
            for image, file in zip(split.images, split.files, strict=True):
                np.testing.assert_array_equal(image, decode_to(file, SHAPE))


def test_a_link_that_leads_elsewhere_is_seen(tmp_path):
    pics = class_folders(tmp_path / "pics", {"a": 3, "b": 3})
    link = pics / "a" / "link.png"
    link.symlink_to(pics / "a" / "0.png")
    examine([str(link)], quiet=True)
    link.unlink()
    link.symlink_to(pics / "a" / "1.png")
    (found,) = examine([str(link)], quiet=True)
    assert found.look.digest == digest_of(pics / "a" / "1.png")


def test_where_times_cannot_be_trusted_content_is_compared(tmp_path, monkeypatch):
    path = save(noise(1), tmp_path / "a.bmp")
    same = identity.Identity((1, 2, 3, 4, 5), settled=True)  # as of a network whose clocks stand still
    monkeypatch.setattr("recipes.data.cache.identity", lambda path: same)
    monkeypatch.setattr("recipes.data.checks.examine.identity", lambda path: same)
    examine([str(path)], quiet=True)
    save(noise(2), path)
    assert examine([str(path)], quiet=True)[0].look.digest == digest_of(path)
    assert cache.digests([str(path)]) == [digest_of(path)]


def test_file_systems_of_networks_are_not_trusted(monkeypatch):
    lines = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:50 / /a\\040b rw shared:1 - nfs4 server:/x rw\n"
    lines += "24 22 0:51 / /over rw - overlay overlay rw\n"
    monkeypatch.setattr(identity.Path, "read_text", lambda *args: lines)
    monkeypatch.setattr(identity.sys, "platform", "linux")
    assert identity.trusted_devices() == {os.makedev(8, 1)}


def test_content_that_changes_between_look_and_decoding_is_refused(tmp_path):
    path = save(noise(1), tmp_path / "a.png")
    with pillow_warnings(), pytest.raises(ImageError, match="was changed"):
        decode_to(path, (8, 8, 3), digest=b"another")


@pytest.mark.parametrize("place", [6, 60, 200, -3, None])
def test_damage_of_cached_images_is_healed(tmp_path, folder, capsys, place):
    pics = class_folders(tmp_path / "pics", {"a": 6, "b": 6})
    before = load(str(pics), image_shape=SHAPE, quiet=True)
    (file,) = folder.glob("*.pictures.npy")
    content = bytearray(file.read_bytes())
    if place is None:
        content = content[: len(content) // 2]
    else:
        content[place] ^= 255
    file.write_bytes(content)
    after = load(str(pics), image_shape=SHAPE, quiet=True)
    assert "is damaged: its images are decoded again" in capsys.readouterr().err
    np.testing.assert_array_equal(before.train.images, after.train.images)
    load(str(pics), image_shape=SHAPE, quiet=True)
    assert "damaged" not in capsys.readouterr().err


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), length=st.sampled_from([1, 40, 5000]), value=st.integers(0, 255))
@example(place=0.32421875, length=1, value=128)  # a name in the schema that is not UTF-8
@example(place=0.6671690036156188, length=40, value=129)  # read without an error, and not written
def test_damage_of_what_is_known_of_files_is_healed(tmp_path_factory, monkeypatch, capsys, place, length, value):
    root = tmp_path_factory.mktemp("known")
    monkeypatch.setenv("CONVZOO_CACHE", str(root))
    paths = [str(save(noise(number), root / f"{number}.png")) for number in range(4)]
    right = list(examine(paths, quiet=True))
    content = bytearray((root / "files.sqlite").read_bytes())
    start = int(place * len(content))
    content[start : start + length] = bytes([value]) * min(length, len(content) - start)
    (root / "files.sqlite").write_bytes(content)
    assert list(examine(paths, quiet=True)) == right
    examine(paths, quiet=True)
    capsys.readouterr()
    assert list(examine(paths, quiet=True)) == right
    assert capsys.readouterr().err == ""


def test_a_damaged_row_is_said(tmp_path, folder, capsys):
    path = str(save(noise(3), tmp_path / "a.png"))
    examine([path], quiet=True)
    file = folder / "files.sqlite"
    file.write_bytes(file.read_bytes().replace(b'"width": 24', b'"width": 42'))
    assert examine([path], quiet=True)[0].look.width == 24
    assert "is damaged in 1 row: the files" in capsys.readouterr().err


def test_a_split_table_refuses_other_content_and_old_ones_still_open(tmp_path):
    import csv

    pics = class_folders(tmp_path / "pics", {"a": 6, "b": 6})
    rows = load(str(pics), image_shape=SHAPE, quiet=True).split_table()
    for name, columns in (("new.csv", list(rows[0])), ("old.csv", ["file", "split", "label"])):
        with open(tmp_path / name, "w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    shutil.copy(save(noise(80), tmp_path / "new.png"), pics / "b" / "3.png")
    with pytest.raises(RequestError, match=r"b/3\.png is not the image that it was"):
        load(str(pics), image_shape=SHAPE, split_table=tmp_path / "new.csv", quiet=True)
    load(str(pics), image_shape=SHAPE, split_table=tmp_path / "old.csv", quiet=True)


def test_a_run_refuses_other_images_in_a_set_without_files(tmp_path):
    for name, value in (("mnist", 0), ("other", 1)):
        images = np.full((30, 8, 8), value, np.uint8)
        for part, array in (("images-idx3", images), ("labels-idx1", np.arange(30, dtype=np.uint8) % 2)):
            header = bytes([0, 0, 8, array.ndim]) + np.asarray(array.shape, ">u4").tobytes()
            file = tmp_path / name / f"train-{part}-ubyte"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(header + array.tobytes())
    run = Run.create(tmp_path / "run")
    run.write_data(load(str(tmp_path / "mnist"), quiet=True))
    shutil.copytree(tmp_path / "mnist", tmp_path / "moved")
    run.check_data(load(str(tmp_path / "moved"), quiet=True))
    with pytest.raises(RequestError, match="does not hold the images") as caught:
        run.check_data(load(str(tmp_path / "other"), quiet=True))
    assert "\n" not in str(caught.value)
