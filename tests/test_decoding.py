"""One image from a file: every mode and format, whatever is wrong with it, by the one decoder."""

import io
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from images import bomb, noise, save
from PIL import Image

from recipes.data.decoding import (
    ImageError,
    decode,
    from_array,
    look,
    pillow_warnings,
    read,
    size_of,
    to_array,
)
from zoo.errors import RequestError

FORMATS = {".png": {}, ".jpg": {"quality": 95}, ".webp": {"lossless": True}, ".gif": {}, ".bmp": {}, ".tif": {}}


def seen(path):
    with pillow_warnings():
        return look(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_about_the_same_pixels(tmp_path, ending):
    image = noise(1, (64, 48))
    path = save(image, tmp_path / f"image{ending}", **FORMATS[ending])
    array = to_array(read(path), (48, 64, 3))
    assert array.dtype == np.uint8
    assert array.shape == (48, 64, 3)
    assert np.abs(array.astype(int) - np.asarray(image)).mean() < 12  # 256 colours of a GIF, a JPEG's chroma


def test_a_file_is_decoded_by_its_content_whatever_its_ending(tmp_path):
    gif = save(noise(2), tmp_path / "wrong.jpg", format="GIF")
    nameless = save(noise(2), tmp_path / "NAMELESS", format="PNG")
    assert seen(gif).format == "GIF"
    assert to_array(read(gif), (20, 24, 3)).shape == (20, 24, 3)
    assert seen(nameless).format == "PNG"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_uint8(tmp_path, mode, channels):
    wide = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
    if mode in wide:
        values = (np.asarray(noise(3, mode="L")).astype(np.int64) * 257).astype(wide[mode])
        image = Image.fromarray(values)
    else:
        image = noise(3).convert(mode)
    path = save(image, tmp_path / "image.tif")
    array = to_array(read(path), (20, 24, channels))
    assert array.shape == (20, 24, channels)
    assert 40 < array.mean() < 220
    if mode in wide and channels == 1:
        assert np.array_equal(array[:, :, 0], np.asarray(noise(3, mode="L")))


def test_transparency_is_laid_over_white(tmp_path):
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert (to_array(read(save(clear, tmp_path / "clear.png")), (4, 4, 3)) == 255).all()
    palette = clear.convert("P")
    palette.info["transparency"] = palette.getpixel((0, 0))
    path = save(palette, tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    assert (to_array(read(path), (4, 4, 3)) == 255).all()
    assert seen(path).transparent


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 120, 250)]
    path = save(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert seen(path).animated
    assert (to_array(read(path), (8, 8, 1)) == 0).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(noise(4, (24, 16)), tmp_path / "turned.jpg", exif=exif)
    wide = orientation < 5
    assert read(path).size == ((24, 16) if wide else (16, 24))
    found = seen(path)
    assert (found.width, found.height) == ((24, 16) if wide else (16, 24))
    with pillow_warnings():
        assert size_of(path.read_bytes(), "turned")[:2] == ((16, 24) if wide else (24, 16))


def broken(tmp_path):
    whole = io.BytesIO()
    noise(5, (64, 64)).save(whole, "JPEG")
    content = whole.getvalue()
    files = {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "undecodable": b"this is a text, whatever its name says",
    }
    for kind, bytes_ in files.items():
        (tmp_path / f"{kind}.jpg").write_bytes(bytes_)
    (tmp_path / "bomb.jpg").write_bytes(bomb(10_000, 10_000))  # Pillow warns of these
    (tmp_path / "bomb-2.jpg").write_bytes(bomb(60_000, 60_000))  # and raises for these
    return [*files, "bomb", "bomb-2"]


def test_what_cannot_be_read_is_named_with_its_kind(tmp_path):
    for name in broken(tmp_path):
        path, kind = tmp_path / f"{name}.jpg", name.partition("-")[0]
        for opened in (read, seen):
            with pytest.raises(ImageError) as caught:
                opened(path)
            assert caught.value.kind == kind
            assert str(caught.value).startswith(str(path))
            assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_told_apart(tmp_path):
    with pytest.raises(ImageError, match="does not exist") as caught:
        read(tmp_path / "none.png")
    assert caught.value.kind == "missing"
    with pytest.raises(ImageError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".gif", ".bmp", ".tif"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_of_any_sort_is_an_error_of_one_line_or_an_image(tmp_path, ending, data):
    content = bytearray(save(noise(6, (16, 12)), tmp_path / f"whole{ending}").read_bytes())
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)
    ):
        content[position] = value
    content = content[: data.draw(st.integers(0, len(content)))]
    path = tmp_path / f"damaged{ending}"
    path.write_bytes(content)
    message = str(path)
    try:
        array = to_array(read(path), (8, 8, 3))
    except ImageError as error:
        message = str(error)
    else:
        assert array.shape == (8, 8, 3)
    assert message.startswith(str(path))
    assert "\n" not in message


def test_jpeg_looks_see_truncation_though_they_decode_at_an_eighth(tmp_path):
    image = noise(7, (800, 600))
    for progressive in (False, True):
        path = save(image, tmp_path / "big.jpg", progressive=progressive)
        content = path.read_bytes()
        assert (seen(path).width, seen(path).height) == (800, 600)
        path.write_bytes(content[: int(len(content) * 0.9)])
        with pytest.raises(ImageError) as caught:
            seen(path)
        assert caught.value.kind == "truncated"


@pytest.mark.parametrize(("rule", "corner", "middle"), [("fill", 200, 200), ("fit", 0, 200), ("stretch", 200, 200)])
def test_resize_rules(rule, corner, middle):
    wide = from_array(np.full((10, 40, 1), 200, np.uint8))
    array = to_array(wide, (20, 20, 1), rule)
    assert array[0, 0, 0] == corner
    assert array[10, 10, 0] == middle


@pytest.mark.parametrize(
    ("shape", "rule"), [((8, 8, 2), "fill"), ((8, 8, 3), "crop"), ((0, 8, 3), "fill"), ((8, 8), "fill")]
)
def test_impossible_shapes_and_rules_are_refused(shape, rule):
    with pytest.raises(RequestError):
        to_array(noise(0), shape, rule)


def test_decoding_in_threads_gives_the_same_pixels(tmp_path):
    paths = [save(noise(seed), tmp_path / f"{seed}.png") for seed in range(16)]
    alone = [np.asarray(read(path)) for path in paths]
    results: dict[int, np.ndarray] = {}
    with pillow_warnings():
        threads = [
            threading.Thread(target=lambda row=row: results.update({row: np.asarray(decode(paths[row]))}))
            for row in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(np.array_equal(results[row], alone[row]) for row in range(16))
