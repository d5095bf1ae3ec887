"""The one resampling: exact where it can be, and equal to scipy's where it interpolates."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from recipes.augment.affine import affine_matrices
from recipes.augment.warp import warp

SCIPY_MODES = {"constant": "grid-constant", "edge": "nearest", "reflect": "reflect", "wrap": "grid-wrap"}
# A few shapes, because each is compiled: a square, both kinds of oblong, one and many channels; a line of as many
# pixels as are computed at once, and one that is too wide to be filled up to that.
SHAPES = [(2, 8, 8, 3), (1, 7, 12, 1), (3, 12, 5, 4), (1, 5, 16, 2), (1, 3, 70, 1)]
few = settings(max_examples=15, deadline=None, derandomize=True)


def batch(shape, seed=0, dtype=np.uint8):
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(dtype)


def moved(images, fill="constant", value=0.0, interpolation="bilinear", dtype=None, **motion):
    matrices = affine_matrices(**motion, height=images.shape[1], width=images.shape[2])
    matrices = tf.broadcast_to(matrices, [len(images), 2, 3])
    return warp(images, matrices, fill=fill, value=value, interpolation=interpolation, dtype=dtype).numpy()


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_quarter_turns_are_rot90_to_the_last_bit(quarters, interpolation):
    images = batch((2, 9, 9, 3))
    turned = moved(images, angle=90.0 * quarters, interpolation=interpolation)
    assert np.array_equal(turned, np.rot90(images, quarters, axes=(1, 2)))


@pytest.mark.parametrize("size", [28, 32, 224])
def test_quarter_turns_are_exact_at_the_sizes_of_real_images(size):
    images = batch((1, size, size, 1))
    assert np.array_equal(moved(images, angle=90.0), np.rot90(images, axes=(1, 2)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_flips_are_slicing_to_the_last_bit(shape, dtype):
    images = batch(shape, dtype=dtype)
    assert np.array_equal(moved(images, flip_x=-1.0), images[:, :, ::-1])
    assert np.array_equal(moved(images, flip_y=-1.0), images[:, ::-1])
    assert np.array_equal(moved(images, flip_x=-1.0, flip_y=-1.0), images[:, ::-1, ::-1])


@few
@given(x=st.integers(-30, 30), y=st.integers(-30, 30), shape=st.sampled_from(SHAPES))
def test_whole_shifts_that_wrap_are_roll_to_the_last_bit(x, y, shape):
    images = batch(shape)
    shifted = moved(images, shift_x=float(x), shift_y=float(y), fill="wrap")
    assert np.array_equal(shifted, np.roll(images, (y, x), axis=(1, 2)))


@few
@given(x=st.integers(-30, 30), fill=st.sampled_from(["edge", "reflect"]))
def test_whole_shifts_at_a_border_are_numpy_padding(x, fill):
    images = batch((1, 7, 12, 1))
    padded = np.pad(images, ((0, 0), (0, 0), (30, 30), (0, 0)), {"edge": "edge", "reflect": "symmetric"}[fill])
    assert np.array_equal(moved(images, shift_x=float(x), fill=fill), padded[:, :, 30 - x : 42 - x])


@pytest.mark.slow
@few
@given(
    motion=st.fixed_dictionaries(
        {
            "scale": st.floats(0.4, 2.5),
            "scale_x": st.floats(0.7, 1.4),
            "scale_y": st.floats(0.7, 1.4),
            "angle": st.floats(-180, 180),
            "shear_x": st.floats(-0.5, 0.5),
            "shear_y": st.floats(-0.5, 0.5),
            "shift_x": st.floats(-9, 9),
            "shift_y": st.floats(-9, 9),
            "flip_x": st.sampled_from([-1.0, 1.0]),
            "flip_y": st.sampled_from([-1.0, 1.0]),
        }
    ),
    shape=st.sampled_from(SHAPES),
    fill=st.sampled_from(sorted(SCIPY_MODES)),
    dtype=st.sampled_from([np.uint8, np.float32]),
    seed=st.integers(0, 99),
)
def test_any_motion_is_scipys_affine_transform(motion, shape, fill, dtype, seed):
    images = batch(shape, seed, dtype)
    height, width = shape[1:3]
    # The composition from its parts, in double precision: flip, scale, shear, turn, all about the centre, shift.
    turn = np.radians(motion["angle"])
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # y runs down
    shear = np.array([[1, motion["shear_x"]], [motion["shear_y"], 1]])
    scale = motion["scale"] * np.diag([motion["scale_x"], motion["scale_y"]])
    inverse = np.linalg.inv(rotation @ shear @ scale @ np.diag([motion["flip_x"], motion["flip_y"]]))
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre - inverse @ (centre + np.array([motion["shift_x"], motion["shift_y"]]))

    expected = np.empty(shape)
    for b in range(shape[0]):
        for c in range(shape[3]):
            expected[b, ..., c] = affine_transform(
                images[b, ..., c].astype(float),
                inverse[::-1, ::-1],  # scipy's axes are (y, x)
                offset[::-1],
                order=1,
                mode=SCIPY_MODES[fill],
                cval=80.0,
            )
    # Coordinates are rounded to 1/1024 pixel: half of that, along both axes, of at most 255 levels.
    tolerance = 255 / 1024 + 0.02 + (0.5 if dtype is np.uint8 else 0)
    assert np.abs(moved(images, fill, 80.0, **motion) - expected).max() <= tolerance


def test_nearest_makes_no_new_values_and_bicubic_keeps_a_cubic():
    images = batch((1, 12, 5, 4))
    assert set(np.unique(moved(images, "reflect", interpolation="nearest", angle=17.0))) <= set(np.unique(images))
    ramp = np.arange(16, dtype=np.float32) ** 2  # Keys' kernel reproduces quadratics
    image = np.tile(ramp, (16, 1))[None, :, :, None]
    shifted = moved(image, "edge", interpolation="bicubic", shift_x=0.25)[0, :, 3:12, 0]
    assert np.allclose(shifted, (np.arange(3, 12) - 0.25) ** 2, atol=1e-3)


def test_integers_are_rounded_not_truncated():
    image = np.zeros((1, 4, 4, 1), np.uint8)
    image[:, :, 2:] = 255
    halves = moved(image, "edge", shift_x=0.5)
    assert halves[0, 0, 2, 0] == 128
    assert moved(image, "edge", dtype="float32", shift_x=0.5)[0, 0, 2, 0] == 127.5


@pytest.mark.slow
def test_extreme_motions_stay_inside_the_image():
    images = batch((1, 8, 8, 1)) // 2 + 100
    for fill in ("edge", "reflect", "wrap"):
        for interpolation in ("nearest", "bilinear"):
            out = moved(images, fill, interpolation=interpolation, scale=0.1, angle=33.0, shift_x=50.0)
            assert out.min() >= images.min(), fill
            assert out.max() <= images.max(), fill
    assert (moved(images, value=7.0, shift_x=50.0) == 7).all()


@pytest.mark.slow
def test_an_image_does_not_see_its_neighbours_in_the_batch():
    images = batch((3, 8, 8, 3))
    motion = {"angle": 31.0, "scale": 0.6, "shift_x": 2.5}
    for fill in SCIPY_MODES:
        together = moved(images, fill, **motion)
        alone = np.concatenate([moved(images[i : i + 1], fill, **motion) for i in range(3)])
        assert np.array_equal(together, alone)


@pytest.mark.parametrize("value", [0.0, 200.0])
def test_one_matrix_may_stand_for_all(value):
    images = batch((3, 12, 5, 4))
    one = affine_matrices(angle=20.0, shift_x=2.5, height=12, width=5)
    for_all, for_each = (warp(images, matrices, value=value) for matrices in (one, tf.repeat(one, 3, axis=0)))
    assert np.array_equal(for_all, for_each)


def test_every_other_pixel_type_is_kept():
    for dtype in (tf.float16, tf.int32):
        images = tf.cast(batch((2, 8, 8, 3)), dtype)
        assert warp(images, affine_matrices(angle=[9.0, 0.0], height=8, width=8)).dtype == dtype
