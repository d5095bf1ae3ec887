"""Pixels of every mode and depth come out by a stated rule, checked against NumPy, in bounded memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import class_folders, noise, png, save, tiff
from PIL import Image, ImageOps

from recipes.data import decoding
from recipes.data.checks.doctor import check
from recipes.data.decoding import ImageError, decode, pillow_warnings, read, to_array
from recipes.data.eight_bits import eight_bits
from recipes.predict import BATCH, _batches
from recipes.support.threads import Budget, in_threads
from zoo.errors import RequestError

TOPS = (1, 255, 4095, 65535)
BILINEAR = Image.Resampling.BILINEAR


def grey(values, *, first=1):
    """uint8 by the stated rule: the first range that no value is above."""
    top = next(top for top in TOPS[first:] if values.max() <= top)
    return np.rint(values.astype(np.float64) * 255 / top)


def colour(values):
    """Of 16 bits a band: the higher 8 where the image is not dark."""
    return values >> 8 if values.max() > 4095 else grey(values)


def over_white(values, alpha):
    return 255 + (values - 255.0) * (alpha / 255)


def lab(values):
    """L*a*b* under D50 to sRGB: the primaries and white of sRGB, adapted after Bradford, and its curve."""
    x, y = np.array([0.64, 0.30, 0.15]), np.array([0.33, 0.60, 0.06])
    primaries = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    d65, d50 = np.array([0.3127 / 0.3290, 1, 0.3583 / 0.3290]), np.array([0.9642, 1, 0.8249])
    to_xyz = primaries * np.linalg.solve(primaries, d65)
    cone = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    adapted = np.linalg.inv(cone) @ np.diag((cone @ d50) / (cone @ d65)) @ cone @ to_xyz
    f = (values[..., 0] / 2.55 + 16) / 116
    a, b = (values[..., band].view(np.int8).astype(float) for band in (1, 2))
    cubes = np.stack([f + a / 500, f, f - b / 200], -1)
    xyz = np.where(cubes > 6 / 29, cubes**3, (cubes - 16 / 116) / 7.787) * d50
    linear = (xyz @ np.linalg.inv(adapted).T).clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def kinds(random, size, most, order):
    """Bytes of files of every kind with what must come out, (H, W, bands), and how far off it may be."""

    def values(bands, top, kind):
        return (random.random((*size, bands)) * (top + 0.999)).clip(0, top).astype(kind)

    most8, palette = min(most, 255), values(3, 255, "u1").reshape(-1, 3)[:16]
    see_through, indices = random.integers(0, 256, len(palette)).astype("u1"), values(1, 99, "u1") % len(palette)
    for bits in (1, 2, 4, 8):
        v = values(1, 2**bits - 1, "u1")
        yield f"png grey {bits}", png(v, bits, 0), v * (255 // (2**bits - 1)), 0
    v, c, a = values(1, most, "u2"), values(3, most, "u2"), values(1, 65535, "u2")
    yield "png grey 16", png(v, 16, 0), grey(v), 0
    yield "png rgb 8", png(c.astype("u1"), 8, 2), c.astype("u1"), 0
    yield "png rgb 16", png(c, 16, 2), colour(c), 0
    yield "png rgba 16", png(np.concatenate([c, a], 2), 16, 6), over_white(colour(c), a >> 8), 1
    yield "png grey alpha 16", png(np.concatenate([v, a], 2), 16, 4), over_white(colour(v), a >> 8), 1
    parts = (b"PLTE", palette.tobytes()), (b"tRNS", see_through.tobytes())
    shown = over_white(palette[indices[..., 0]], see_through[indices])
    yield "png palette alpha", png(indices, 8, 3, *parts), shown, 1
    yield "png palette", png(indices, 8, 3, parts[0]), palette[indices[..., 0]], 0
    for kind in ("u2", "u4", "i4") if order == "<" else ("u2", "i4"):  # Pillow opens no others
        v = values(1, most, kind)
        yield f"tiff {kind}{order}", tiff(v, 1, order=order), grey(v), 0
    v = values(1, min(most, 32767), "i2")
    yield f"tiff i2{order}", tiff(v, 1, order=order), grey(v), 0
    v = (random.random((*size, 1)) * most).astype("f4")
    yield f"tiff floats{order}", tiff(v, 1, order=order), grey(v, first=0), 0
    yield f"tiff floats, white is zero{order}", tiff(v, 0, order=order), 255 - grey(v, first=0), 0
    v = values(1, most, "u2")
    yield "tiff u2, white is zero", tiff(v, 0), 255 - grey(v), 0
    yield f"tiff rgb 16{order}", tiff(c, 2, order=order), colour(c), 0
    yield (
        f"tiff rgba 16{order}",
        tiff(np.concatenate([c, a], 2), 2, order=order, extra=2),
        over_white(colour(c), a >> 8),
        1,
    )
    if size[1] % 2 == 0:
        v = values(1, 4095, "u2")
        yield "tiff 12 bits packed", tiff(v, 1, bits=12), np.rint(v * (255 / 4095)), 0
    v = values(1, most8, "u1")
    yield "tiff u1, white is zero", tiff(v, 0), 255 - v, 0
    v = values(4, 255, "u1")
    yield "tiff cmyk", tiff(v, 5), (255 - v[..., :3]) * (255.0 - v[..., 3:]) / 255, 2
    v = values(4, 65535, "u2")
    yield "tiff cmyk 16", tiff(v, 5, order=order), (255 - (v[..., :3] >> 8)) * (255.0 - (v[..., 3:] >> 8)) / 255, 2
    v = values(3, 255, "u1")
    yield "tiff lab", tiff(v, 8), lab(v), 2


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    most=st.sampled_from([0, 1, 2, 200, 255, 256, 4095, 4096, 30000, 65535]),
    order=st.sampled_from("<>"),
)
def test_every_kind_follows_its_rule(tmp_path, seed, size, most, order):
    for name, content, expected, tolerance in kinds(np.random.default_rng(seed), size, most, order):
        expected = np.broadcast_to(np.rint(expected), (*size, 3))
        result = outcome(tmp_path / name, content, size)
        if isinstance(result, ImageError):
            assert result.kind == "values", result
            assert str(result).startswith(str(tmp_path / name))
            assert np.ptp(expected.reshape(-1, 3), axis=0).max() <= 2 * tolerance, result  # all alike
        else:
            assert np.abs(result - expected).max() <= tolerance, name


def outcome(name, content, size):
    """The array (H, W, 3), or what is raised in its place."""
    try:
        with pillow_warnings():
            return to_array(decode(name, content), (*size, 3))
    except ImageError as error:
        return error


@pytest.mark.parametrize(
    ("values", "photometric", "word"),
    [
        (np.array([[[0], [-1.0]]], "f4"), 1, "from -1 to 0"),
        (np.array([[[0], [7e4]]], "f4"), 1, "to 70000"),
        (np.array([[[0], [np.nan]]], "f4"), 1, "NaN"),
        (np.array([[[0], [np.inf]]], "f4"), 1, "infinite"),
        (np.array([[[0], [-5]]], "i2"), 1, "from -5 to 0"),
        (np.array([[[3], [-1]]], "i1"), 1, "below 0"),
        (np.array([[[0], [2**31]]], "u4"), 1, "to 0"),
        (np.array([[[0.5], [0.5001]]], "f4"), 1, "all alike"),
        (np.array([[[0, 0, 0], [1, 1, 1]]], "f4"), 2, "not an image that can be decoded"),
    ],
)
def test_what_no_rule_fits_is_refused_by_path(tmp_path, values, photometric, word):
    path = tmp_path / "odd.tif"
    path.write_bytes(tiff(values, photometric))
    with pytest.raises(ImageError, match=word) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_bands_of_16_bits_in_planes_are_refused_or_right(tmp_path):
    values = (np.random.default_rng(0).random((6, 4, 3)) * 65535).astype("u2")
    content = bytearray(tiff(np.moveaxis(values, 2, 0).reshape(6, 4, 3).copy(), 2))
    count = np.frombuffer(bytes(content), "<u2", 1, int.from_bytes(content[4:8], "little"))[0]
    place = int.from_bytes(content[4:8], "little") + 2 + 12 * (count - 1)
    content[place : place + 12] = bytes([284 % 256, 1, 3, 0, 1, 0, 0, 0, 2, 0, 0, 0])  # PlanarConfiguration, last
    (tmp_path / "planes.tif").write_bytes(bytes(content))
    with pytest.raises(ImageError, match="separate planes"):
        read(tmp_path / "planes.tif")


def test_ranges_that_differ_in_one_set_are_said(tmp_path):
    folder = class_folders(tmp_path / "pics", {"a": 4, "b": 4})
    for number, top in enumerate((4095, 4095, 65535)):
        save(Image.fromarray(np.asarray([[0, top]], np.uint16)), folder / "a" / f"deep{number}.png")
    (found,) = [finding for finding in check(str(folder), quiet=True).findings if finding.kind == "depths"]
    assert "0 to 4,095 (2), 0 to 65,535 (1)" in found.detail


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
    rgb = Image.fromarray(np.asarray(noise(4)) // 2 + 60)  # within the gamut
    to_lab = cms.buildTransform(cms.createProfile("sRGB"), cms.createProfile("LAB"), "RGB", "LAB")
    again = np.asarray(eight_bits(cms.applyTransform(rgb, to_lab)).image, int)
    assert np.abs(again - np.asarray(rgb, int)).mean() < 1


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 99),
    mode=st.sampled_from(["L", "RGB"]),
    channels=st.sampled_from([1, 3]),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    frame=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_8_bits_come_out_as_pillow_brings_them_to_a_size(seed, mode, channels, size, frame):
    image = noise(seed, size, mode)
    plain = image.convert("L" if channels == 1 else "RGB")
    box = (frame[1], frame[0])
    expected = {"fill": ImageOps.fit(plain, box, BILINEAR), "stretch": plain.resize(box, BILINEAR)}
    if max(size) <= 8 * min(size):  # of strips, older versions of Pillow leave nothing
        expected["fit"] = ImageOps.pad(plain, box, BILINEAR, color=0)
    for rule, right in expected.items():
        array = to_array(image, (*frame, channels), rule)
        np.testing.assert_array_equal(array, np.asarray(right).reshape(array.shape))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 65535), st.integers(1, 65535)).filter(lambda size: size[0] * size[1] < 300_000),
    frame=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    rule=st.sampled_from(["fit", "fill", "stretch"]),
)
def test_no_shape_becomes_black(size, frame, rule):
    for image in (Image.new("RGB", size, (200, 30, 40)), Image.new("L", size, 200)):
        assert to_array(image, (*frame, 3), rule).max() == 200


def test_images_that_would_lose_what_they_show_are_refused():
    drawing = np.zeros((4, 4, 4), np.uint8)
    drawing[..., :3], drawing[1, :, 3] = 255, 255
    with pytest.raises(RequestError, match="all white"):
        to_array(Image.fromarray(drawing), (4, 4, 3))


def test_a_budget_is_never_exceeded():
    budget, used, most = Budget(10), [], []

    def work(amount: int) -> None:
        with budget.taken(amount):
            used.append(amount)
            most.append(sum(used))
            used.remove(amount)

    list(in_threads(work, [3, 4, 9, 1, 10, 2] * 20))
    assert max(most) <= 10


def test_large_jpeg2000_files_are_decoded_smaller(tmp_path, monkeypatch):
    pytest.importorskip("PIL._imaging").jpeg2k_decoder  # noqa: B018
    image = noise(5, (320, 240))
    path = save(image, tmp_path / "large.jp2", irreversible=False)
    whole = to_array(read(path), (24, 32, 3)).astype(int)
    monkeypatch.setattr(decoding, "MAX_JPEG2000_PIXELS", 320 * 240 // 5)
    assert read(path).size == (80, 60)
    assert np.abs(to_array(read(path), (24, 32, 3)) - whole).mean() < 6


@pytest.mark.slow
@pytest.mark.parametrize(("bits", "colour"), [(16, 0), (16, 2), (8, 6)])
def test_decoding_takes_a_bounded_number_of_bytes_a_pixel(tmp_path, bits, colour):
    bands = {0: 1, 2: 3, 6: 4}[colour]
    values = np.zeros((1, 4000, bands), np.uint16)
    values[0, :2000] = 9
    content = png(np.broadcast_to(values, (4000, 4000, bands)), bits, colour)
    (tmp_path / "large.png").write_bytes(content)
    script = (
        "import resource, sys; from recipes.data.decoding import ImageError, decode_to, pillow_warnings\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with pillow_warnings(): decode_to(sys.argv[1], (32, 32, 3))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "large.png")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 16 * 4000 * 4000 + 2**26


def test_predict_opens_images_as_it_needs_them(tmp_path):
    path = save(noise(1), tmp_path / "a.png")
    batches = _batches([path] * BATCH + [tmp_path / "gone.png"], (8, 8, 3), "fill")
    assert next(batches).shape == (BATCH, 8, 8, 3)
    with pytest.raises(ImageError, match="does not exist"):
        next(batches)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    pipe = Path(tmp_path, "pipe.png")
    os.mkfifo(pipe)
    with pytest.raises(ImageError, match="a pipe, socket or device"):
        read(pipe)
