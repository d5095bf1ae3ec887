"""Cards: what can be known of a model without building it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import zoo
from zoo.errors import RequestError
from zoo.registry import CAFFE, IMAGENET, Card, allowed_values


def test_names_are_sorted_and_matched_by_pattern():
    names = zoo.list_models()
    assert names == sorted(names)
    assert {"lenet1", "lenet5", "vgg16", "all_cnn_c", "nin", "resnet8", "keras_resnet50"} <= set(names)
    assert zoo.list_models("vgg1?") == ["vgg11", "vgg13", "vgg16", "vgg19"]
    assert zoo.list_models("[!k]*") == [name for name in names if not name.startswith("k")]
    assert zoo.list_models("nothing_like_it") == []


@pytest.mark.parametrize(
    ("wrong", "meant"), [("lenet6", "lenet"), ("VGG16", "vgg16"), ("efficientnetlite0", "efficientnet_lite0")]
)
def test_an_unknown_name_gets_the_nearest(wrong, meant):
    with pytest.raises(RequestError, match=f"unknown model '{wrong}': did you mean '{meant}"):
        zoo.get_card(wrong)


def test_an_unknown_option_gets_the_nearest():
    with pytest.raises(RequestError, match="unknown option of mobilenet_v2 'widht': did you mean 'width'"):
        zoo.create_model("mobilenet_v2", widht=0.5)


@pytest.mark.parametrize(
    ("name", "options", "allowed"),
    [
        ("mobilenet_v2", {"width": 0}, "for mobilenet_v2; allowed: float, at least 0.1, at most 2.0."),
        ("all_cnn_c", {"stage_dropout": 1}, "for all_cnn_c; allowed: float, at least 0, below 1."),
        ("all_cnn_c", {"version": "pool"}, "did you mean 'convpool'? Allowed: all, base, convpool, strided."),
        ("alexnet", {"form": 3}, "for alexnet; allowed: one_tower | two_towers."),
        ("alexnet", {"form": "three_towers"}, "did you mean 'two_towers'? Allowed: one_tower, two_towers."),
    ],
)
def test_an_option_out_of_range_says_what_is_allowed(name, options, allowed):
    with pytest.raises(RequestError) as caught:
        zoo.create_model(name, **options)
    assert str(caught.value).endswith(allowed)


def every_card() -> list[Card]:
    return [zoo.get_card(name) for name in zoo.list_models()]


@pytest.mark.parametrize("card", every_card(), ids=lambda card: card.name)
def test_a_card_is_complete(card):
    assert card.name == card.name.lower()
    assert card.summary.endswith(".")
    assert card.paper.title
    assert card.paper.authors
    assert 1980 <= card.paper.year <= 2030
    assert card.paper.url.startswith("http")
    assert 0 < card.trainable_parameters <= card.parameters
    assert len(card.input_shape) == 3
    assert json.loads(json.dumps(card.to_dict()))["parameters"] == card.parameters
    for option in card.options.values():
        assert allowed_values(option.annotation)
        assert option.default is not option.empty


def test_reading_all_cards_imports_neither_keras_nor_tensorflow():
    code = (
        "import sys, zoo; [zoo.get_card(name).to_dict() for name in zoo.list_models()];"
        "print([name for name in ('keras.src', 'tensorflow', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_same_name_cannot_be_registered_twice():
    card = zoo.get_card("lenet5")

    def lenet5(x):
        """Another."""

    with pytest.raises(ValueError, match="registered twice"):
        zoo.register(
            family="lenet",
            paper=card.paper,
            input_shape=(32, 32, 1),
            parameters=1,
            pooling="flatten",
            scaling=card.scaling,
        )(lenet5)


def test_scaling_of_grey_images_is_the_mean_over_channels():
    assert IMAGENET.for_channels(3) is IMAGENET
    grey = CAFFE.for_channels(1)
    assert (grey.order, grey.scale) == ("rgb", 1.0)
    assert grey.offset == pytest.approx(-(103.939 + 116.779 + 123.68) / 3)


KERAS_MODULES = {
    "vgg16": "vgg16", "vgg19": "vgg19", "inception_v3": "inception_v3", "inception_resnet_v2": "inception_resnet_v2",
    "resnet50": "resnet", "resnet50_v2": "resnet_v2", "xception": "xception", "densenet121": "densenet",
    "nasnet_mobile": "nasnet", "mobilenet": "mobilenet", "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3_small": "mobilenet_v3", "efficientnet_b0": "efficientnet", "efficientnet_v2_b0": "efficientnet_v2",
    "convnext_tiny": "convnext",
}  # fmt: skip


@pytest.mark.parametrize(("name", "module"), KERAS_MODULES.items())
def test_pixels_are_scaled_as_preprocess_input_does(name, module):
    import keras

    from zoo.builder import rescale

    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype("float32")
    image = keras.Input((5, 4, 3))
    scaled = keras.Model(image, rescale(zoo.get_card(f"keras_{name}").scaling, image))
    expected = getattr(keras.applications, module).preprocess_input(pixels.copy())
    np.testing.assert_allclose(scaled(pixels), expected, atol=1e-4)
    again = keras.Model.from_config(scaled.get_config())
    np.testing.assert_array_equal(again(pixels), scaled(pixels))
