"""Kernels at several scales: the basis, what a layer computes, how it follows a scaled image, and what is exported."""

import keras
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.signal import correlate2d
from scipy.special import eval_hermitenorm

import zoo
from recipes.data import Split
from recipes.export import convert
from recipes.tflite.file import TFLiteFile
from zoo import layers
from zoo.errors import RequestError
from zoo.layers.basis import scaled_basis

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_a_function_of_the_basis_is_the_mean_over_each_pixel_of_a_derivative_of_a_gaussian():
    scales = (0.5, 0.8, 1.25)
    bases = scaled_basis(scales, order=2)
    assert [len(basis) for basis in bases] == [3, 5, 7]
    for scale, basis in zip(scales, bases, strict=True):
        radius = len(basis) // 2

        def along(order, x, scale=scale):
            return quad(lambda t: eval_hermitenorm(order, t / scale) * np.exp(-(t**2) / 2 / scale**2), x - 0.5, x + 0.5)

        lines = [[along(n, x)[0] / scale for x in range(-radius, radius + 1)] for n in range(3)]
        expected = np.stack([np.outer(lines[n // 3], lines[n % 3]) for n in range(9)], axis=-1)
        # Each function is multiplied by one number, the same at all scales.
        factor = np.linalg.norm(bases[1], axis=(0, 1)) / np.linalg.norm(basis, axis=(0, 1))
        assert basis.dtype == np.float32
        lengths = np.linalg.norm(expected, axis=(0, 1)) * factor
        np.testing.assert_allclose(basis * lengths, expected, atol=0.005)
    np.testing.assert_allclose(np.linalg.norm(bases[1], axis=(0, 1)), 1, rtol=1e-6)


def test_derivatives_are_blind_to_constants_and_the_gaussian_sees_them_alike_at_every_scale():
    sums = np.array([basis.sum((0, 1)) for basis in scaled_basis((0.5, 0.8, 1.25, 3.0), order=2)])
    np.testing.assert_allclose(sums[:, 0], sums[0, 0], rtol=0.03)
    assert np.abs(sums[:, 1:]).max() < 0.15 * sums[0, 0]


def test_a_layer_is_one_convolution_a_scale():
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 4)).astype("float32")
    layer = layers.ScaleConv2D(3, (0.5, 1.0))
    out = np.asarray(layer(x))
    assert out.shape == (2, 9, 7, 6)
    assert layer.free_kernel.shape == (9, 2, 3)
    for k, kernel in enumerate(map(np.asarray, layer.kernels)):
        for image in range(2):
            for f in range(3):
                pairs = [(x[image, ..., 2 * k + c], kernel[..., c, f]) for c in range(2)]
                expected = sum(correlate2d(one, of, mode="same") for one, of in pairs)
                np.testing.assert_allclose(out[image, ..., 3 * k + f], expected, atol=1e-5)


def test_normalization_shares_its_statistics_over_scales():
    x = np.random.default_rng(0).normal(2, 3, (8, 5, 5, 6)).astype("float32")
    layer = layers.ScaleNormalization(3, momentum=0.0)
    out = np.asarray(layer(x, training=True)).reshape(-1, 2)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-3)
    assert layer.gamma.shape == (2,)
    np.testing.assert_allclose(layer.moving_mean, x.reshape(-1, 2).mean(0), rtol=1e-4)


def blobs(size, grown, count=12):
    """Gaussian blobs around the middle, larger by a factor: drawn by their formula, not resampled."""
    random = np.random.default_rng(1)
    rows, columns = (np.mgrid[:size, :size] - (size - 1) / 2) / grown
    image = np.zeros((size, size))
    for _ in range(count):
        (down, across), width = random.uniform(-7, 7, 2), random.uniform(1.2, 2.5)
        image += random.normal() * np.exp(-((rows - down) ** 2 + (columns - across) ** 2) / (2 * width**2))
    return image[None, ..., None].astype("float32")


@pytest.mark.parametrize("grown", [2.0, 3.0])
def test_what_is_larger_has_about_the_same_answer_at_a_scale_that_is_larger(grown):
    keras.utils.set_random_seed(0)
    lift, second = layers.ScaleLiftingConv2D(4, (1.0, grown)), layers.ScaleConv2D(4, (1.0, grown))
    small, large = blobs(41, 1.0), blobs(int(40 * grown) + 1, grown)

    def error(at):
        """Between the maps of the small image at the first scale and those of the large one at another."""
        maps = [np.asarray(second(keras.ops.relu(lift(image)))) for image in (small, large)]
        before, after = maps[0][0, ..., :4], maps[1][0, :: int(grown), :: int(grown), 4 * at : 4 * at + 4]
        inner = (slice(8, -8), slice(8, -8))
        return np.sqrt(((after[inner] - before[inner]) ** 2).mean()) / before[inner].std()

    assert error(at=1) < 0.1
    assert error(at=0) > 4 * error(at=1)  # at its own scale it has another


def test_in_a_file_a_layer_is_one_convolution_a_scale_and_the_maximum_is_a_maximum(tmp_path):
    keras.utils.set_random_seed(0)
    x = image = keras.Input((12, 12, 1))
    x = layers.ScaleLiftingConv2D(3, (0.5, 0.8, 1.2))(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.ReLU()(layers.ScaleNormalization(3)(x))
    x = layers.ScaleConv2D(4, (0.5, 0.8, 1.2), use_bias=False)(keras.layers.MaxPooling2D(2)(x))
    x = keras.layers.GlobalMaxPooling2D()(layers.ScalePooling("max", 3)(x))
    model = keras.Model(image, keras.layers.Dense(5, activation="softmax")(x))
    given = np.random.default_rng(0).integers(0, 256, (12, 12, 12, 1)).astype("uint8")
    for to, most in (("float32", 1e-4), ("int8", 0.03)):
        path = tmp_path / f"{to}.tflite"
        path.write_bytes(convert(model, to, Split(given, np.arange(12) % 5)))
        file = TFLiteFile(path)
        assert file.operators["CONV_2D"] == 6
        assert file.operators["MAXIMUM"] == 2
        assert not {"BATCH_MATMUL", "GATHER", "TRANSPOSE"} & set(file.operators)
        assert file.operators["FULLY_CONNECTED"] == 1
        np.testing.assert_allclose(file.predict(given), model(given), atol=most)


def test_counts_are_of_coefficients_and_multiply_adds_of_all_scales():
    anatomy = zoo.describe("scale_cnn")
    convs = {layer.name: layer for layer in anatomy.layers if layer.name.startswith("conv") and layer.macs}
    assert convs["conv2"].parameters == 9 * 8 * 12
    assert convs["conv2"].parameters_expanded == (9 + 25 + 49) * 8 * 12
    assert convs["conv2"].macs == 14 * 14 * (9 + 25 + 49) * 8 * 12
    assert convs["conv1"].receptive_field == (7, 7)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: layers.ScaleConv2D(3, ()), r"scales \[\] are not possible; allowed: one or more, rising, from 0.3"),
        (lambda: layers.ScaleConv2D(3, (1, 0.5)), r"scales \[1.0, 0.5\] are not possible"),
        (lambda: layers.ScaleConv2D(3, (0.1,)), r"scales \[0.1\] are not possible"),
        (lambda: layers.ScaleConv2D(3, order=7), "order 7 is not possible; allowed: 0 to 4"),
        (lambda: layers.ScaleConv2D(3, name="c")(np.zeros((1, 5, 5, 4))), "c: 4 channels are no maps at 3 scales"),
        (lambda: layers.ScalePooling(copies=3)(np.zeros((1, 5, 5, 4))), "possible: multiples of 3"),
        (lambda: layers.ScalePooling("maximum"), "unknown statistic 'maximum': did you mean 'max'"),
        (lambda: layers.ScaleNormalization(3)(np.zeros((1, 5, 5, 4))), "possible: multiples of 3"),
    ],
)
def test_what_is_not_possible_is_refused_in_a_line(make, why):
    with pytest.raises(RequestError, match=why) as told:
        make()
    assert "\n" not in str(told.value)
