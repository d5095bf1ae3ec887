"""The report of a run: whole, self-contained, and without a complaint from a real browser."""

import json
import re
import shutil
from itertools import pairwise

import numpy as np
import pytest
import yaml
from browser import Page, open_page
from images import save
from PIL import Image

from cli import main
from recipes.evaluate.inside import class_maps, feature_maps, first_kernels, grad_cam, layer_cam
from recipes.report.charts import data_uri, heat, line_chart, matrix
from recipes.report.limits import kept_within, not_for, weak_classes
from recipes.report.run_page import report
from recipes.report.sections import command_to_reproduce
from recipes.run.folder import Run
from zoo import create_model

ALWAYS = ("summary", "use", "data", "augmentation", "learning-curves", "confusion-matrix", "worst-mistakes")
ALWAYS += ("calibration", "not-sure", "invariance", "inside-the-model", "saliency", "reproduce")


@pytest.fixture(scope="module")
def reported(digits_run, tmp_path_factory):
    """A copy of the run with an export and an invariance measurement in it, and its report."""
    path = tmp_path_factory.mktemp("reported") / "first"
    shutil.copytree(digits_run.path, path)
    run = Run.open(path)
    values = {"values": [-45, 0, 45, 180], "accuracy": [0.5, 0.9, 0.6, 0.4], "consistency": [0.5, 1.0, 0.6, 0.3]}
    family = values | {"score_drop": [0.3, 0.0, 0.2, 0.4], "score": 0.8}
    mirror = {key: items[:2] if isinstance(items, list) else items for key, items in family.items()}
    invariance = {"rotation": family, "mirror": mirror | {"values": ["horizontal", "vertical"]}}
    invariance |= {"shift_consistency": 0.9, "overall": 0.8}
    metrics = json.loads((path / "metrics.json").read_text()) | {"invariance": invariance}
    metrics["equivariance"] = [{"layer": "c1", "stride": [1, 1], "error": 0.1}]
    run.write_json("metrics.json", metrics)
    run.write_json("export.json", {"int8": {"file": "a&b-int8.tflite", "bytes": 66160, "agreement": 0.995}})
    return run, report(run)


DARK = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")


@pytest.mark.parametrize("options", [(), ("--window-size=390,844",), DARK], ids=("light", "phone", "dark"))
def test_a_browser_opens_it_without_a_complaint(reported, tmp_path, options):
    document, complaints = open_page(reported[1].file, tmp_path, *options)
    page = Page(document)
    assert complaints == []
    assert {s["id"] for s in page.all("section")} == {*ALWAYS, "shift-equivariance", "exports"}
    assert len(page.all("img")) > 60
    assert len([svg for svg in page.all("svg") if svg.get("role") == "img"]) == 7


def test_the_browser_tells_of_what_fails_to_load(tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<meta http-equiv="Content-Security-Policy" content="default-src \'none\'"><img src="a.png">')
    assert open_page(page, tmp_path / "profile")[1]


def test_it_needs_nothing_beside_it_and_runs_no_script(reported):
    text = reported[1].file.read_text("utf-8")
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object"), tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), attributes
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in text
    assert "@import" not in text


def test_it_can_be_read_without_seeing_and_without_a_mouse(reported):
    page = Page(reported[1].file.read_text("utf-8"))
    assert all(image["alt"] for image in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    assert all(region["tabindex"] == "0" and region["aria-label"] for region in page.all("div") if "role" in region)
    anchors = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {link["href"][1:] for link in page.all("a")} <= anchors
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_says_what_the_run_says(reported):
    run, written = reported
    text = written.file.read_text("utf-8")
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert f"{metrics['accuracy']:.2%}" in text
    assert "a&amp;b-int8.tflite" in text
    assert f"zoo fit lenet5 --data digits --recipe {run.path}/recipe.toml --out {run.path}-again" in text


def test_the_command_to_reproduce_is_one_that_the_command_line_takes(reported):
    import cli

    words = command_to_reproduce(reported[0], reported[0].recipe).split()
    assert words[:2] == ["zoo", "fit"]
    assert cli.commands.commands["fit"].make_context("fit", words[2:]).params["model"] == "lenet5"


def test_a_model_without_convolutions_says_so():
    mlp = create_model("mlp", input_shape=(28, 28, 1), classes=10)
    image = np.zeros((28, 28, 1), np.uint8)
    assert first_kernels(mlp) is None
    assert feature_maps(mlp, image) == []
    assert grad_cam(mlp, image[None], np.array([0])) is None


def test_grad_cam_points_to_what_the_score_comes_from():
    import keras

    # A network that answers "right" by the brightness of the right half, "left" by that of the left.
    image = keras.Input((16, 16, 1))
    scaled = keras.layers.Rescaling(1 / 255, name="rescaling")(image)
    inner = keras.Input((16, 16, 1))
    kernel = keras.initializers.Constant(1.0)
    backbone = keras.Model(inner, keras.layers.AveragePooling2D(2)(inner), name="backbone")
    flat = keras.layers.Flatten()(backbone(scaled))
    logits = keras.layers.Dense(2, kernel_initializer=kernel, name="logits")(flat)
    model = keras.Model(image, keras.layers.Activation("softmax", name="scores")(logits))
    sides = np.zeros((8, 8, 2), np.float32)
    sides[:, :4, 0] = sides[:, 4:, 1] = 1
    model.get_layer("logits").set_weights([sides.reshape(64, 2), np.zeros(2, np.float32)])
    pixels = np.zeros((1, 16, 16, 1), np.uint8)
    pixels[:, 4:8, 12:] = 255
    (cam,) = grad_cam(model, pixels, np.array([1]))
    assert cam.shape == (8, 8)
    assert (cam > 0.5).tolist() == (pixels[0, ::2, ::2, 0] > 0).tolist()


def test_first_kernels_and_maps_are_those_of_the_network():
    model = create_model("lenet5")
    weights = model.get_layer("backbone").layers[1].get_weights()[0]
    kernels = first_kernels(model)
    assert kernels.shape == (6, 5, 5, 1)
    assert np.corrcoef(kernels[..., 0].ravel(), weights[:, :, 0].transpose(2, 0, 1).ravel())[0, 1] > 0.999
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    assert [stage.maps.shape[1:] for stage in feature_maps(model, image)] == [(28, 28), (14, 14), (10, 10), (5, 5)]


def test_text_from_outside_stays_text():
    assert "<b>" not in line_chart("<b>", {"<b>": [(0, 1), (1, 2)]}, x="<b>")
    assert "<b>" not in matrix([[1]], ["<b>"], "<b>")


def test_a_large_image_is_made_smaller_and_a_small_one_is_kept():
    large, small = np.zeros((600, 400, 3), np.uint8), np.zeros((9, 9, 1), np.uint8)
    assert data_uri(large).startswith("data:image/jpeg")
    assert data_uri(small).startswith("data:image/png")
    assert heat(large, np.ones((4, 4), np.float32)).shape == (600, 400, 3)


def test_a_chart_of_one_point_or_of_none_is_drawn_or_left_out():
    assert "<circle" in line_chart("loss", {"training": [(1.0, 0.5)]}, x="epoch")
    assert line_chart("loss", {"training": [(1.0, float("nan"))]}, x="epoch") == ""


def test_the_card_has_the_metrics_of_the_run_and_a_head_that_yaml_reads(reported):
    run, written = reported
    head, text = re.fullmatch(r"---\n(.*?)---\n(.*)", written.card.read_text("utf-8"), re.DOTALL).groups()
    known = yaml.safe_load(head)
    assert known["pipeline_tag"] == "image-classification"
    (result,) = known["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": run.metrics["accuracy"]}]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    of_class = {row[0]: row[1:] for row in rows if row[0] in run.metrics["per_class"]}
    for name, row in run.metrics["per_class"].items():
        right, images = round(row["recall"] * row["support"]), row["support"]
        low, high = proportion_confint(right, images)
        expected = [f"{row['precision']:.1%}", f"{row['recall']:.1%}", f"{low:.1%} to {high:.1%}"]
        assert of_class[name] == [*expected, f"{row['f1']:.1%}", f"{images:,}"]
    assert command_to_reproduce(run, run.recipe) in text
    assert "random" in re.search(r"Starting weights\*\*: (.*)", text)[1]


def proportion_confint(right, images, z=1.959963984540054):
    """Wilson's interval by its formula."""
    share, over = right / images, 1 + z**2 / images
    middle, half = share + z**2 / (2 * images), z * (share * (1 - share) / images + z**2 / (4 * images**2)) ** 0.5
    return (middle - half) / over, (middle + half) / over


def test_what_is_kept_is_the_range_around_the_image_as_it_is():
    values, accuracy = [-45, -10, -5, 0, 5, 10, 45, 90], [0.2, 0.95, 0.5, 1.0, 0.96, 0.95, 0.2, 1.0]
    metrics = {"accuracy": 1.0, "invariance": {"rotation": {"values": values, "accuracy": accuracy}}}
    assert kept_within(metrics) == {"rotation": (0, 10)}
    accuracy[4] = 0.9
    assert kept_within(metrics) == {"rotation": (0, 0)}
    assert any("rotation, however little" in told for told in not_for(metrics | {"class_names": ["a"]}, "x"))


def test_a_class_is_weak_where_chance_does_not_explain_it():
    rows = {
        "a": {"recall": 0.9, "support": 10},
        "b": {"recall": 0.5, "support": 100},
        "c": {"recall": 0.0, "support": 0},
    }
    assert weak_classes({"accuracy": 0.95, "per_class": rows}) == ["b (recall 50% of 100)"]


def test_drawings_are_of_one_size(reported, tmp_path):
    acted = tmp_path / "acted.html"
    script = (
        "document.title = [...document.querySelectorAll('.chart > svg')].map((s) => Math.round(s.clientWidth)).join()"
    )
    page = reported[1].file.read_text("utf-8").replace("default-src 'none'", "script-src 'unsafe-inline'")
    acted.write_text(page.replace("</body>", f"<script>{script}</script></body>"), "utf-8")
    document, _ = open_page(acted, tmp_path / "profile", "--window-size=1200,900")
    widths = [int(width) for width in re.search("<title>(.*?)</title>", document)[1].split(",")]
    assert len(widths) >= 5
    assert max(widths) <= 1.05 * min(widths)


def test_maps_are_of_the_weights_and_not_of_the_image_alone(digits_run):
    """The sanity check of Adebayo et al. 2018: where weights are random, the map must be another."""
    images = digits_run.load_data().test.images[::100]
    model = digits_run.load_model()
    classes = model.predict(images, verbose=0).argmax(1)
    trained = [cam(model, images, classes) for cam in (grad_cam, layer_cam)]
    again = [cam(model, images, classes) for cam in (grad_cam, layer_cam)]
    random = np.random.default_rng(0)
    model.set_weights([random.permuted(weight.ravel()).reshape(weight.shape) for weight in model.get_weights()])
    changed = [cam(model, images, classes) for cam in (grad_cam, layer_cam)]
    for before, same, after in zip(trained, again, changed, strict=True):
        np.testing.assert_allclose(before, same, atol=1e-6)
        alike = [np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(before, after, strict=True)]
        assert np.nanmean(alike) < 0.6


def test_layer_cam_weighs_each_place_by_its_own_gradient(digits_run):
    images = digits_run.load_data().test.images[:3]
    model, classes = digits_run.load_model(), np.array([1, 2, 3])
    coarse, fine = (cam(model, images, classes) for cam in (grad_cam, layer_cam))
    for one, both in zip((coarse, fine), class_maps(model, images, classes), strict=True):
        np.testing.assert_allclose(one, both, atol=1e-6)
    assert coarse.shape == fine.shape
    assert np.abs(coarse - fine).max() > 0.05


def test_a_prediction_is_explained_in_a_drawing(digits_run, int8_file, tmp_path, capsys):
    for folder in ("one", "two"):  # of one name: both are kept
        save(Image.fromarray(digits_run.load_data().test.images[0, ..., 0]), tmp_path / folder / "three.png")
    files = [str(tmp_path / folder / "three.png") for folder in ("one", "two")]
    out = tmp_path / "where"
    assert main(["predict", str(digits_run.path), *files, "--explain", str(out)]) == 0
    assert {file.name for file in out.iterdir()} == {"three-explained.png", "three-2-explained.png"}
    drawn = np.asarray(Image.open(out / "three-explained.png"))
    height, width = drawn.shape[:2]
    assert (height, width) == (224, 3 * 224)  # 28 pixels a side, 8 times as large
    assert main(["predict", str(int8_file), files[0], "--explain", str(out)]) == 2
    assert "takes gradients: give the run" in capsys.readouterr().err
