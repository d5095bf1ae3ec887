"""What is drawn for each image, the presets, the layer, and labels of mixed images."""

import itertools
import subprocess
import sys
from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from recipes.augment import Affine
from recipes.augment.blur import Blur
from recipes.augment.colour import Colour
from recipes.augment.erasing import Erasing
from recipes.augment.layer import Augmentation
from recipes.augment.mixing import STREAM
from recipes.augment.operation import Operation
from recipes.augment.pipeline import Augment
from recipes.augment.preview import preview
from recipes.augment.randaugment import RandAugment
from recipes.config.presets import list_augmentations, load_augmentation, load_recipe
from recipes.config.settings import Recipe
from recipes.data import Split
from recipes.training.model import training_batches
from zoo.errors import RequestError

SEED = tf.constant([3, 4], tf.int32)
PRESETS = {"none", "digits", "natural", "aerial", "document", "strong", "mnist-classic"}
GENTLE = {"blur", "colour", "randaugment", "erasing"}


def batch(count=6, size=16, channels=3):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, channels), np.uint8)


def varied(augment, images, seed=SEED):
    return augment(tf.constant(images), augment.draw(len(images), seed)).numpy()


def test_the_documented_presets_are_there():
    assert set(list_augmentations()) >= PRESETS


@pytest.mark.parametrize("name", list_augmentations())
def test_every_preset_varies_images_repeatably_and_alike_in_tf_data(name):
    augment, images = load_augmentation(name), batch(channels=1 if "mnist" in name else 3)
    assert augment.about.summary
    with tf.device("CPU"):  # where tf.data computes; other devices round otherwise
        once, again = varied(augment, images), varied(augment, images)
    assert once.dtype == np.uint8
    assert once.shape == images.shape
    assert np.array_equal(once, again)
    dataset = tf.data.Dataset.from_tensors((images, augment.draw(len(images), SEED))).map(augment)
    assert np.array_equal(next(dataset.as_numpy_iterator()), once)
    assert np.array_equal(once, images) == (name == "none")
    if name != "none":
        assert not np.array_equal(varied(augment, images, SEED + 1), once)


def test_none_and_untouched_settings_are_the_identity():
    assert load_augmentation("none").is_identity
    assert Augment().is_identity
    assert not Augment(colour={}).is_identity
    assert Augment(mixup={}).is_identity  # of an image alone


@pytest.mark.parametrize("name", ["digits", "mnist-classic", "document"])
def test_writing_is_never_mirrored(name):
    augment = load_augmentation(name)
    assert not augment.horizontal_flip
    assert not augment.vertical_flip


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scale=[0,1]", "scale.0=0 is not possible"),
        ("scale=[2,1]", "smaller number first"),
        ("rotation=400", "rotation=400 is not possible: input should be less than or equal to 180."),
        ("fill=reflekt", "did you mean 'reflect'?"),
        ("interpolation=cubic", "did you mean 'bicubic'?"),
        ("rotatoin=4", "did you mean 'rotation'?"),
        ("mixup.alfa=1", "did you mean 'mixup.alpha'?"),
        ("erasing.probability=2", "erasing.probability=2 is not possible"),
        ("randaugment.operations=0", "randaugment.operations=0 is not possible"),
    ],
)
def test_settings_that_are_not_possible_are_one_line(setting, message):
    with pytest.raises(RequestError) as error:
        load_augmentation("strong", [setting])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recipe_names_an_augmentation_and_changes_it():
    augment = load_recipe("digits", ["augment.rotation=20", "augment.mixup.alpha=0.4"]).augment
    assert (augment.rotation, augment.mixup.alpha, augment.scale) == (20, 0.4, (0.8, 1.2))
    assert Recipe.model_validate({"augment": augment.model_dump(mode="json", exclude_none=True)}).augment == augment
    with pytest.raises(RequestError, match="did you mean 'natural'"):
        load_augmentation("natrual")


def test_settings_are_validated_without_tensorflow():
    code = (
        "import sys; from recipes.config.presets import *; load_recipe('default');"
        "assert 'tensorflow.python' not in sys.modules and 'keras.src' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_drawn_stays_within_its_ranges():
    augment = Augment(scale=(0.5, 2), scale_x=(0.9, 1.1), translation=0.1, rotation=30, shear=10, horizontal_flip=True)
    drawn = {name: values.numpy() for name, values in augment.parameters(augment.draw(4000, SEED)).items()}
    assert 0.45 <= drawn["scale_x"].min() < 0.55
    assert 1.8 < drawn["scale_x"].max() <= 2.2
    assert 0.49 < (drawn["scale_y"] < 1).mean() < 0.51 or abs((drawn["scale_y"] < 1).mean() - 0.5) < 0.03
    assert 29 < np.abs(drawn["angle"]).max() <= 30
    assert np.abs(drawn["shift_x"]).max() <= 0.1
    assert np.abs(drawn["shear_x"]).max() <= np.tan(np.radians(10)) + 1e-6
    assert abs((drawn["flip_x"] < 0).mean() - 0.5) < 0.03
    assert (drawn["flip_y"] == 1).all()


@pytest.mark.parametrize("name", sorted(GENTLE))
def test_adding_an_operation_leaves_the_geometry_as_it_was(name):
    plain = load_augmentation("natural").model_copy(update={"colour": None})
    more = Augment.model_validate(plain.model_dump() | {name: {}})
    assert np.array_equal(plain.draw(5, SEED), more.split(more.draw(5, SEED))["affine"])


def test_each_operation_has_a_stream_of_its_own_that_stays_what_it_was():
    kinds = {name: (*get_args(field.annotation), None)[0] for name, field in Augment.model_fields.items()}
    operations = {name: kind for name, kind in kinds.items() if isinstance(kind, type(Operation))}
    streams = {name: kind.stream for name, kind in operations.items()}
    mixing = {name: streams.pop(name) for name in ("mixup", "cutmix")}
    assert mixing == {"mixup": 1, "cutmix": 2}
    assert streams == {"blur": 0, "colour": 1, "randaugment": 2, "erasing": 3}
    assert STREAM == 4


def test_a_resumed_run_draws_what_it_always_drew():
    augment = Augment(blur={}, colour={}, randaugment={}, erasing={}, mixup={}, cutmix={})
    first = {name: values[0].numpy() for name, values in augment.split(augment.draw(2, SEED)).items()}
    expected = {
        "affine": (0.2433, 0.9835, 0.2204, 0.4679, 0.7739, 0.8354, 0.9809, 0.0694, 0.4921),
        "blur": (0.2807, 0.1158),
        "colour": (0.0874, 0.1245, 0.1308),
        "randaugment": (0.8243, 0.0506, 0.4894, 0.9965),
        "erasing": (0.5254, 0.9892, 0.8290, 0.5654, 0.1491),
        "mixing": (0.5678, 0.4563, 0.0037, 0.7645, 0.1453, 0.1663),
    }
    assert list(first) == list(expected)
    for name, values in expected.items():
        assert np.allclose(first[name], values, atol=6e-5), name


@pytest.mark.parametrize(
    ("operation", "drawn", "words"),
    [
        (
            Affine(scale=(1, 4), translation=0.5),
            {"scale": 0.5, "shift_x": 1.0, "shift_y": 0.5},
            ["x2.00", "+10.0, +0.0 px"],
        ),
        (Affine(rotation=20, vertical_flip=True), {"angle": 0.25, "flip_y": 0.1}, ["-10°", "upside down"]),
        (Blur(sigma=(1, 3), probability=0.5), {"sigma": 0.5, "chance": 0.4}, ["blur 2.0"]),
        (Blur(sigma=(1, 3), probability=0.5), {"sigma": 0.5, "chance": 0.6}, []),
        (Colour(brightness=0.2), {"brightness": 1.0, "contrast": 1.0}, ["brightness 1.20"]),
        (RandAugment(), {"operation_0": 0.1, "sign_0": 0.9, "operation_1": 0.99}, ["rotate+", "autocontrast-"]),
        (Erasing(), {"chance": 0.4}, ["erased"]),
        (Erasing(), {"chance": 0.6}, []),
    ],
)
def test_each_operation_says_what_a_draw_does(operation, drawn, words):
    draws = np.array([drawn.get(name, 0.0) for name in operation.draws], np.float32)
    assert operation.describe(draws, (8, 20)) == words


def epochs(recipe, count=10, classes=5):
    """The batches of a small training, ten different images in an epoch."""
    images = np.random.default_rng(1).integers(0, 256, (count, 12, 12, 1), np.uint8)
    labels = np.arange(count) % classes
    return list(training_batches(Split(images, labels), recipe, classes).as_numpy_iterator())


def seen(recipe):
    """The set of (epoch, image, target) that a training sees, whatever the order."""
    batches = epochs(recipe)
    steps = len(batches) // recipe.epochs
    found = set()
    for number, (batch, targets) in enumerate(batches):
        for image, target in zip(batch, targets, strict=True):
            found.add((number // steps, image.tobytes(), np.asarray(target).tobytes()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("name", "sizes"), [("digits", (2, 5, 10)), ("strong", (2, 5))])
def test_an_image_is_varied_alike_whatever_the_batch_size(name, sizes):
    settings = ["epochs=2", f"augment={name}"]
    by_size = [seen(load_recipe("quick", [*settings, f"batch_size={size}"])) for size in sizes]
    assert len(by_size[0]) == 20  # every image in both epochs, each time another
    assert all(other == by_size[0] for other in by_size[1:])
    assert seen(load_recipe("quick", [*settings, f"batch_size={sizes[0]}"])) == by_size[0]
    assert seen(load_recipe("quick", [*settings, f"batch_size={sizes[0]}", "seed=1"])) != by_size[0]


@pytest.mark.parametrize("kinds", [("mixup",), ("cutmix",), ("mixup", "cutmix")])
def test_labels_are_mixed_by_the_share_of_the_pixels(kinds):
    augment = Augment.model_validate({kind: {"alpha": 1.0} for kind in kinds})
    count = 64
    images = np.zeros((count, 8, 8, 1), np.float32)
    images[count // 2 :] = 240
    labels = tf.one_hot(np.arange(count) // (count // 2), 2)
    draws = augment.draw(count, SEED)
    partners = augment.partners(draws, count).numpy()
    assert partners.min() >= 0
    assert partners.max() < count
    mixed, shares = augment.mix(
        tf.constant(images), labels, tf.gather(images, partners), tf.gather(labels, partners), draws
    )
    assert np.allclose(np.sum(shares, axis=1), 1, atol=1e-6)
    assert np.allclose(np.mean(mixed, axis=(1, 2, 3)), 240 * shares[:, 1], atol=1e-3)
    blended = [len(np.unique(image)) == 1 and 1 < image.max() < 239 for image in mixed.numpy()]
    cut = [len(np.unique(image)) == 2 for image in mixed.numpy()]
    assert any(blended) == ("mixup" in kinds)
    assert any(cut) == ("cutmix" in kinds)


def test_erasing_paints_one_rectangle_of_the_stated_size():
    augment = Augment(erasing={"probability": 1, "area": (0.1, 0.3), "value": 200})
    out = varied(augment, np.zeros((200, 20, 20, 1), np.uint8))[..., 0]
    for image in out:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        assert (image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 200).all()
        assert 0.05 <= (image > 0).mean() <= 0.37  # sides are whole pixels


def test_colour_changes_what_it_says_and_nothing_else():
    images = batch(40)
    grey = np.repeat(images[..., :1], 3, axis=3)
    saturated = Augment(colour={"saturation": 1.0})
    assert np.array_equal(varied(saturated, grey), grey)  # grey has no saturation
    assert not np.array_equal(varied(saturated, images), images)
    assert np.array_equal(varied(saturated, images[..., :1]), images[..., :1])
    flat = np.full((40, 8, 8, 3), 90, np.uint8)
    assert np.array_equal(varied(Augment(colour={"contrast": 1.0}), flat), flat)
    bright = varied(Augment(colour={"brightness": 0.5}), flat)
    assert (bright == bright[:, :1, :1, :1]).all()
    assert 45 <= bright.min() < 60
    assert 120 < bright.max() <= 135


def test_blur_is_scipys_gaussian():
    from scipy.ndimage import gaussian_filter

    images = batch(3)
    sharp = varied(Augment(blur={"probability": 0.0}), images)
    assert np.array_equal(sharp, images)
    out = varied(Augment(blur={"sigma": (1.5, 1.5), "probability": 1.0}), images).astype(float)
    expected = gaussian_filter(images.astype(float), (0, 1.5, 1.5, 0), mode="nearest", radius=(0, 5, 5, 0))
    assert np.abs(out - expected).max() <= 0.51


@pytest.mark.slow
def test_randaugment_draws_for_each_image_and_resamples_once():
    images = np.repeat(batch(1), 300, axis=0)
    augment = Augment(randaugment={"operations": 1, "magnitude": 0.5}, fill="reflect")
    out = varied(augment, images)
    kinds = len(np.unique(out.reshape(300, -1), axis=0))
    # Twelve operations; ten of them differ by their sign, but posterize, solarize, autocontrast and identity do not.
    assert 16 <= kinds <= 20
    assert varied(Augment(randaugment={"magnitude": 0.0}), images[:4]).tolist() == images[:4].tolist()


def test_the_layer_is_the_identity_outside_training_and_repeats_under_its_seed(tmp_path):
    images = batch()
    layer = Augmentation(load_augmentation("natural"), seed=5)
    assert np.array_equal(layer(images), images)
    assert np.array_equal(layer(images, training=False), images)
    first, second = layer(images, training=True).numpy(), layer(images, training=True).numpy()
    assert not np.array_equal(first, second)
    assert np.array_equal(Augmentation(load_augmentation("natural"), seed=5)(images, training=True), first)

    model = keras.Sequential(
        [keras.Input((16, 16, 3)), layer, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].settings == layer.settings
    assert np.array_equal(loaded(images), model(images))
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((6, 3)), batch_size=4, verbose=0)  # a remainder batch too


def test_the_layer_refuses_to_mix_labels_that_it_does_not_see():
    with pytest.raises(ValueError, match="labels"):
        Augmentation({"mixup": {}})


@pytest.mark.slow
def test_a_preview_has_a_row_an_image_and_says_what_was_drawn(tmp_path):
    for name, columns in (("strong", 2), ("aerial", 1)):
        drawn = preview(batch(), load_augmentation(name), tmp_path / f"{name}.png", columns=columns)
        assert drawn.file.read_bytes().startswith(b"\x89PNG")
        assert [len(row) for row in drawn.captions] == [columns] * 6
        assert all(itertools.chain(*drawn.captions))
    assert "°" in drawn.captions[0][0]
