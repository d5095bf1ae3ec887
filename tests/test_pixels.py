"""What the cache gives is what files have now, and pixels of every depth come out by a stated rule."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from images import class_folders, noise, save
from PIL import Image

from recipes.data import load
from recipes.data.checks.doctor import check
from recipes.data.checks.examine import examine
from recipes.data.decoding import ImageError, decode_to, digest_of, pillow_warnings, read, to_array
from recipes.data.eight_bits import PixelError, eight_bits
from recipes.run.folder import Run
from recipes.support.threads import Budget, in_threads
from zoo.errors import RequestError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(["<u2", ">u2", "i4", "f4"]),
    most=st.sampled_from([0, 1, 2, 255, 256, 4095, 4096, 65535]),
    size=st.tuples(st.integers(1, 30), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_depths_follow_their_formula(kind, most, size, seed):
    values = (np.random.default_rng(seed).random(size) * most).astype(kind)
    top = next(top for top in (1, 255, 4095, 65535) if values.max() <= top and (top > 1 or kind == "f4"))
    expected = np.rint(values.astype(np.float64) * 255 / top)
    try:
        image, read_as, remark = eight_bits(Image.fromarray(values))
    except PixelError:
        assert len(np.unique(expected)) == 1 < len(np.unique(values))
    else:
        np.testing.assert_array_equal(np.asarray(image), expected)
        assert read_as == top
        assert f"read as 0 to {top:,}" in remark


def test_ranges_that_differ_in_one_set_are_said(tmp_path):
    folder = class_folders(tmp_path / "pics", {"a": 4, "b": 4})
    for number, top in enumerate((4095, 4095, 65535)):
        save(Image.fromarray(np.asarray([[0, top]], np.uint16)), folder / "a" / f"deep{number}.png")
    (found,) = [finding for finding in check(str(folder), quiet=True).findings if finding.kind == "depths"]
    assert "0 to 4,095 (2), 0 to 65,535 (1)" in found.detail


@pytest.mark.parametrize("value", [-1.0, 70000.0, float("nan"), float("inf")])
def test_values_outside_of_every_rule_are_refused_by_path(tmp_path, value):
    path = save(Image.fromarray(np.array([[0, value]], np.float32)), tmp_path / "f.tif")
    with pytest.raises(ImageError, match=r"f\.tif has pixels") as caught:
        read(path)
    assert caught.value.kind == "values"


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "La", "RGBX", "CMYK", "YCbCr", "HSV"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_comes_out(mode, channels):
    image = noise(3)
    for step in {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("P", "PA")}.get(mode, (mode,)):
        image = image.convert(step)
    array = to_array(image, (20, 24, channels))
    assert array.shape == (20, 24, channels)
    assert array.min() < array.max()


def test_lab_is_what_littlecms_makes_of_it():
    cms = pytest.importorskip("PIL.ImageCms")
    rgb = noise(4)
    to_lab = cms.buildTransform(cms.createProfile("sRGB"), cms.createProfile("LAB"), "RGB", "LAB")
    again = np.asarray(eight_bits(cms.applyTransform(rgb, to_lab))[0], int)
    assert np.abs(again - np.asarray(rgb, int)).mean() < 3


def test_tiffs_of_white_zero_are_inverted(tmp_path):
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    path = save(Image.fromarray(values), tmp_path / "white.tif", tiffinfo={262: 0})
    np.testing.assert_array_equal(to_array(read(path), (16, 16, 1))[..., 0], 255 - values // 257)


def test_images_that_would_lose_what_they_show_are_refused():
    drawing = np.zeros((4, 4, 4), np.uint8)
    drawing[..., :3], drawing[1, :, 3] = 255, 255
    with pytest.raises(RequestError, match="all white"):
        to_array(Image.fromarray(drawing), (4, 4, 3))
    with pytest.raises(RequestError, match="all alike"):
        to_array(Image.fromarray(np.arange(16, dtype=np.float32).reshape(4, 4) / 1e6), (4, 4, 1))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)).filter(lambda size: size[0] * size[1] < 300_000),
    frame=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rule=st.sampled_from(["fit", "fill", "stretch"]),
)
def test_no_shape_becomes_black(size, frame, rule):
    for image in (Image.new("RGB", size, (200, 30, 40)), Image.new("L", size, 200)):
        assert to_array(image, (*frame, 3), rule).max() == 200


def test_a_file_that_changes_is_seen_whatever_its_size_and_times(tmp_path):
    folder = class_folders(tmp_path / "pics", {"a": 6, "b": 6}, ending=".bmp")
    path, other = folder / "a" / "0.bmp", folder / "a" / "1.bmp"
    link = folder / "a" / "link.bmp"
    link.symlink_to(other)
    stamp = os.stat(path)
    for change in ("content", "replaced", "link"):
        before = examine([str(path), str(link)], quiet=True)
        if change == "content":
            path.write_bytes(save(noise(70), tmp_path / "new.bmp").read_bytes())
        elif change == "replaced":
            os.replace(save(noise(71), tmp_path / "new.bmp"), path)
        else:
            link.unlink()
            link.symlink_to(folder / "a" / "2.bmp")
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        after = examine([str(path), str(link)], quiet=True)
        assert after != before
        assert [one.look.digest for one in after] == [digest_of(path), digest_of(link)]


def test_content_that_changes_between_look_and_decoding_is_refused(tmp_path):
    path = save(noise(1), tmp_path / "a.png")
    with pillow_warnings(), pytest.raises(ImageError, match="was changed"):
        decode_to(path, (8, 8, 3), digest=b"another")


@pytest.mark.parametrize("place", [6, 60, 200, -3, None])
def test_damage_of_a_cached_file_is_healed(tmp_path, cache, capsys, place):
    folder = class_folders(tmp_path / "pics", {"a": 6, "b": 6})
    before = load(str(folder), image_shape=(16, 16, 3), quiet=True)
    (file,) = cache.glob("*.pictures.npy")
    content = bytearray(file.read_bytes())
    if place is None:
        content = content[: len(content) // 2]
    else:
        content[place] ^= 255
    file.write_bytes(content)
    after = load(str(folder), image_shape=(16, 16, 3), quiet=True)
    assert "is damaged: its images are decoded again" in capsys.readouterr().err
    np.testing.assert_array_equal(before.train.images, after.train.images)


def test_a_split_table_refuses_other_content_and_old_ones_still_open(tmp_path):
    import csv

    folder = class_folders(tmp_path / "pics", {"a": 6, "b": 6})
    rows = load(str(folder), image_shape=(16, 16, 3), quiet=True).split_table()
    for name, columns in (("new.csv", list(rows[0])), ("old.csv", ["file", "split", "label"])):
        with open(tmp_path / name, "w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    shutil.copy(save(noise(80), tmp_path / "new.png"), folder / "b" / "3.png")
    with pytest.raises(RequestError, match=r"b/3\.png is not the image that it was"):
        load(str(folder), image_shape=(16, 16, 3), split_table=tmp_path / "new.csv", quiet=True)
    load(str(folder), image_shape=(16, 16, 3), split_table=tmp_path / "old.csv", quiet=True)


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


def test_a_budget_is_never_exceeded():
    budget, used, most = Budget(10), [], []

    def work(amount: int) -> None:
        with budget.taken(amount):
            used.append(amount)
            most.append(sum(used))
            used.remove(amount)

    list(in_threads(work, [3, 4, 9, 1, 10, 2] * 20))
    assert max(most) <= 10


def test_what_is_no_file_is_refused_at_once(tmp_path):
    pipe = Path(tmp_path, "pipe.png")
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="a pipe, socket or device"):
        read(pipe)
