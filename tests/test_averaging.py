"""Symmetry by copies of the image: built into a model of any kind, and of scores at test time."""

import json
import shutil

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import settled

import cli
import zoo
from recipes.config.settings import Model
from recipes.data import Split
from recipes.embed import embed
from recipes.evaluate.averaging import AVERAGES, averaged, check_average, passes, views
from recipes.evaluate.inside import grad_cam
from recipes.evaluate.scoring import evaluate
from recipes.export import convert
from recipes.export.conversion import in_float32
from recipes.finetune import finetune
from recipes.fit import fit, resume
from recipes.predict import predict
from recipes.report.run_page import report
from recipes.run.folder import Run
from recipes.tflite.file import TFLiteFile
from recipes.training import loop
from zoo.errors import RequestError
from zoo.groups import EXACT, copies_group, copies_in, find_group, symmetry_of, together
from zoo.heads import HEADS
from zoo.layers import CopyPooling, ImageCopies
from zoo.stages import take_apart

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

# One of each kind of family: the smallest image that it takes here, and options that make it small.
KINDS = {
    "lenet5": ((32, 32, 1), {}),
    "mlp": ((28, 28, 1), {}),
    "locally_connected": ((16, 16, 1), {}),
    "resnet8": ((32, 32, 3), {}),
    "mobilenet_v1": ((32, 32, 3), {"width": 0.25}),  # depthwise
    "squeezenet1_1": ((48, 48, 3), {}),
    "z2_cnn": ((28, 28, 1), {}),
    "p4_cnn": ((28, 28, 1), {}),
    "keras_mobilenet_v3_small": ((32, 32, 3), {}),
}


def images(shape, count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("uint8")


def largest_change(score, group, given):
    """The largest change of any score under any element."""
    before, group = score(given), find_group(group)
    moved = (np.ascontiguousarray(group.applied(element, given)) for element in range(group.order))
    return max(float(np.abs(score(one) - before).max()) for one in moved)


def scorer(model):
    return lambda given: np.asarray(model(given))


# ---- layers and groups -------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(EXACT), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.integers(1, 3))
def test_copies_are_the_image_under_every_element_one_after_the_other(name, height, width, channels, count):
    group = find_group(name)
    given = images((height, height if group.quarter_turns else width, channels), count).astype("float32")
    copies = np.asarray(ImageCopies(name)(given)).reshape(count, group.order, *given.shape[1:])
    for element in range(group.order):
        np.testing.assert_array_equal(copies[:, element], group.applied(element, given))
    largest = np.asarray(CopyPooling(name)(copies.reshape(-1, copies[0, 0].size)))
    np.testing.assert_array_equal(largest, copies.max(1).reshape(count, -1))


def elements_of(name):
    """What the elements of a group do to nine pixels; nothing of no group."""
    pixels, group = np.arange(9).reshape(1, 3, 3, 1), find_group(name or "d4")
    elements = range(group.order if name else 1)
    return {group.applied(element, pixels).tobytes() for element in elements}


@pytest.mark.parametrize("one", ["", *EXACT])
@pytest.mark.parametrize("other", ["", *EXACT])
def test_two_groups_together_are_the_smallest_that_holds_both(one, other):
    both = elements_of(one) | elements_of(other)
    whole = elements_of(together(one, other))
    assert both <= whole
    assert not [name for name in EXACT if both <= elements_of(name) < whole]


# ---- models ------------------------------------------------------------------------------------------------------


SLOW = ("resnet8", "mobilenet_v1", "keras_mobilenet_v3_small", "squeezenet1_1")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in KINDS])
def test_any_backbone_gives_the_same_scores(name):
    shape, options = KINDS[name]
    group = "mirror" if name == "p4_cnn" else "d4"
    model = settled(zoo.create_model(name, input_shape=shape, classes=4, symmetry=group, **options))
    assert symmetry_of(model) == "d4"
    assert (copies_group(model), copies_in(model)) == (group, find_group(group).order)
    assert largest_change(scorer(model), "d4", images(shape, 2)) < 2e-6
    plain = zoo.create_model(name, input_shape=shape, classes=4, **options)
    assert [w.shape for w in plain.weights] == [w.shape for w in model.weights]
    plain.get_layer("backbone").set_weights(model.get_layer("backbone").get_weights())


@pytest.mark.parametrize("pooling", HEADS)
@pytest.mark.parametrize("group", ["c4", "mirror"])
def test_every_head_gives_the_same_scores(pooling, group):
    hidden = () if pooling == "convolutional" else (5,)
    shape = (32, 32, 1) if group == "c4" else (32, 36, 1)
    model = settled(
        zoo.create_model("lenet5", input_shape=shape, pooling=pooling, hidden=hidden, classes=3, symmetry=group)
    )
    assert model.output_shape == (None, 3)
    assert largest_change(scorer(model), group, images(shape, 2)) < 1e-6


def test_scores_are_the_same_in_half_precision_and_any_size():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = zoo.create_model("lenet5", symmetry="c4", classes=3)
    finally:
        keras.config.set_dtype_policy(before)
    assert largest_change(scorer(model), "c4", images((32, 32, 1))) < 0.02
    assert largest_change(scorer(in_float32(model)), "c4", images((32, 32, 1))) < 1e-6
    open_size = zoo.create_model("resnet8", symmetry="mirror", input_shape=(None, None, 3))
    assert largest_change(scorer(open_size), "mirror", images((24, 40, 3))) < 1e-6


REFUSED = [
    ("lenet5", {"symmetry": "c4", "input_shape": (28, 32, 1)}, "28x32, nearest: 28x28 or 32x32; 'mirror' takes any"),
    ("lenet5", {"symmetry": "d4", "input_shape": (None, None, 1), "pooling": "average"}, "of one size: give input"),
    ("p4_cnn", {"symmetry": "c4"}, "p4_cnn has c4 built in.* 4 times as much .*; allowed: mirror, d4, none"),
    ("rosette_d4", {"symmetry": "mirror"}, "has d4 built in.* allowed: none"),
    ("lenet5", {"symmetry": "c8"}, "only quarter turns and mirrors bring pixels onto pixels; nearest: c4"),
    ("lenet5", {"symmetry": "c_4"}, "unknown symmetry 'c_4': did you mean 'c4'"),
]


@pytest.mark.parametrize(("name", "asked", "told"), REFUSED)
def test_what_cannot_be_symmetric_is_refused_in_a_line(name, asked, told):
    with pytest.raises(RequestError, match=told) as error:
        zoo.create_model(name, **asked)
    assert "\n" not in str(error.value)


def test_a_rectangle_is_refused_before_images_are_read(tmp_path):
    asked = ["model.symmetry=c4", "model.input_shape=[28,30,1]"]
    with pytest.raises(RequestError, match="needs square images: received 28x30"):
        fit("lenet5", data="digits", out=tmp_path / "run", overrides=asked)
    with pytest.raises(ValueError, match="did you mean 'mirror'"):
        Model(name="lenet5", symmetry="miror")
    assert not (tmp_path / "run").exists()


def test_costs_are_counted_for_all_copies():
    alone, copied = zoo.describe("lenet5"), zoo.describe("lenet5", symmetry="d4")
    classifier = alone.layers[-2].macs
    assert copied.macs == 8 * (alone.macs - classifier) + classifier
    assert copied.parameters == alone.parameters
    assert copied.receptive_field == alone.receptive_field


def test_a_score_map_of_copies_is_refused():
    with pytest.raises(RequestError, match="the maximum over copies of an image under mirror"):
        zoo.score_map_model(zoo.create_model("resnet8", symmetry="mirror"))


# ---- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """A folder of a few small images of two classes."""
    from PIL import Image

    root, random = tmp_path_factory.mktemp("few") / "few", np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (root / name).mkdir(parents=True)
        for number in range(24):
            Image.fromarray(random.integers(low, low + 100, (16, 16), np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def symmetric_run(few, tmp_path_factory):
    """A run under d4, with a head whose features are pooled."""
    settings = ["epochs=1", "model.input_shape=[16,16,1]", "model.symmetry=d4"]
    settings += ["model.pooling=average", "model.hidden=[]"]
    out = tmp_path_factory.mktemp("symmetric") / "run"
    return fit("lenet5", data=str(few), out=out, recipe="quick", overrides=settings, quiet=True).run


@pytest.mark.slow
def test_a_run_is_symmetric_in_all_that_reads_it(symmetric_run, digit_image, tmp_path):
    run = symmetric_run
    assert run.recipe.model.symmetry == "d4"
    assert symmetry_of(run.load_model()) == "d4"
    copy = Run.open(shutil.copytree(run.path, tmp_path / "run"))
    test = run.load_data().test.images[:6]
    maps = grad_cam(run.load_model(), test, np.zeros(6, int))
    group = find_group("d4")
    for element in (1, 6):
        moved = grad_cam(run.load_model(), np.ascontiguousarray(group.applied(element, test)), np.zeros(6, int))
        np.testing.assert_allclose(moved, group.applied(element, maps), atol=1e-3)
    assert predict(copy.path, [digit_image])[0].guesses
    with pytest.raises(RequestError, match=r"average 'c4' changes nothing.*allowed: 6"):
        predict(copy.path, [digit_image], average="c4")


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("name", ["lenet5", pytest.param("mobilenet_v1", marks=pytest.mark.slow)])
def test_a_file_gives_the_same_scores_an_int8_file_the_same_bits(kind, name, tmp_path):
    shape = (32, 32, 1) if name == "lenet5" else (32, 32, 3)
    train = Split(images(shape, 40), np.arange(40) % 5)
    model = settled(zoo.create_model(name, input_shape=shape, classes=5, symmetry="d4", pooling="average"))
    file = tmp_path / "model.tflite"
    file.write_bytes(convert(model, kind, train))
    opened = TFLiteFile(file)
    assert opened.input_shape == shape
    assert not opened.graph.custom
    assert largest_change(opened.predict, "d4", train.images[:20]) <= (0 if kind == "int8" else 1e-6)


@pytest.mark.slow
def test_a_symmetric_run_can_be_reported_embedded_and_measured(symmetric_run, few, tmp_path):
    run = Run.open(shutil.copytree(symmetric_run.path, tmp_path / "run"))
    metrics = evaluate(run, invariance=True)
    assert metrics["symmetry"]["group"] == "d4"
    assert metrics["symmetry"]["largest"] < 1e-6
    assert report(run).sections
    embedded = embed(run.path, str(few), out=tmp_path / "features.npz", quiet=True)
    moved = embed(run.path / "model.keras", str(few), out=tmp_path / "of_file.npz", quiet=True)
    assert len(embedded.features) == 48
    np.testing.assert_allclose(embedded.features, moved.features, atol=1e-5)


@pytest.mark.slow
def test_export_verifies_a_symmetry_by_copies(symmetric_run, tmp_path):
    from recipes.export.handover import export

    result = export(
        symmetric_run.path, to="int8", out=tmp_path / "file.tflite", force=True, budget={"agreement": 0.5, "drop": 0.5}
    )
    assert (result.symmetry["group"], result.symmetry["largest"], len(result.symmetry["differences"])) == ("d4", 0.0, 7)


# ---- training ----------------------------------------------------------------------------------------------------


def test_parts_know_how_many_rows_an_image_has():
    pooled = take_apart(zoo.create_model("resnet8", symmetry="c4"))
    assert (pooled.copies, pooled.feature_copies) == (4, 1)
    hidden = take_apart(zoo.create_model("lenet5", symmetry="mirror"))
    assert (hidden.copies, hidden.feature_copies) == (2, 2)
    alone = take_apart(zoo.create_model("resnet8"))
    assert (alone.copies, alone.feature_copies) == (1, 1)


# Kept are: the maximum, all copies, all copies of a lower part, images.
KEPT = [
    ("finetune.stages=0", []),
    ("finetune.stages=0", [6]),
    ("finetune.stages=1", [6]),
    ('finetune.stages="all"', []),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cut", "hidden"), KEPT)
def test_fine_tuning_learns_from_the_copies_that_it_keeps(cut, hidden, symmetric_run, few, tmp_path):
    overrides = ["epochs=1", "finetune.epochs=1", cut, "model.symmetry=c4", f"model.hidden={hidden}"]
    overrides += ["augment=none", "finetune.views=1"]
    given = {"data": str(few), "recipe": "head", "overrides": overrides, "quiet": True}
    fitted = finetune(symmetric_run.path, out=tmp_path / "tuned", **given)
    model = fitted.run.load_model()
    assert symmetry_of(model) == "c4"
    assert "4 copies of each image" in fitted.notes[-1]
    again = evaluate(fitted.run)
    assert again["accuracy"] == fitted.metrics["accuracy"]  # the scores of the kept features are those of the model
    assert again["loss"] == pytest.approx(fitted.metrics["loss"], rel=1e-4)
    assert largest_change(scorer(model), "c4", fitted.run.load_data().test.images) < 1e-6
    before, after = (run.load_model().get_layer("backbone").get_weights() for run in (symmetric_run, fitted.run))
    if cut == "finetune.stages=0":
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(before, after, strict=True))


@pytest.mark.slow
def test_a_file_keeps_its_symmetry_and_can_lose_it(symmetric_run, few, tmp_path):
    given = {"data": str(few), "recipe": "head", "quiet": True}
    settings = ["epochs=1", "augment=none", "finetune.views=1"]
    file = symmetric_run.path / "model.keras"
    kept = finetune(file, out=tmp_path / "kept", overrides=settings, **given).run
    assert (kept.recipe.model.symmetry, symmetry_of(kept.load_model())) == ("d4", "d4")
    lost = finetune(file, out=tmp_path / "lost", overrides=[*settings, "model.symmetry=none"], **given).run
    assert symmetry_of(lost.load_model()) == ""


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_weights(few, tmp_path, monkeypatch, interrupted):
    given = {"data": str(few), "recipe": "quick", "quiet": True}
    given["overrides"] = ["epochs=3", "model.input_shape=[32,32,1]", "model.symmetry=c4", "model.dropout=0.3"]
    whole = fit("lenet5", out=tmp_path / "whole", **given).run
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    with interrupted(2):
        fit("lenet5", out=tmp_path / "part", **given)
    part = resume(tmp_path / "part", quiet=True).run
    for mine, theirs in zip(part.load_model().get_weights(), whole.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


# ---- at test time ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
def test_views_are_as_many_as_passes_and_weigh_one_together(average):
    given = images((6, 6, 2))
    seen = list(views(given, average))
    assert len(seen) == passes(average) == len({view.tobytes() for _, view in seen})
    assert sum(weight for weight, _ in seen) == 1
    np.testing.assert_array_equal(seen[0][1], given)
    assert all(view.shape == given.shape and view.dtype == np.uint8 for _, view in seen)


def test_shifted_views_are_the_image_moved_by_a_pixel_with_its_edge_reflected():
    given = images((5, 7, 1))
    seen = dict(enumerate(view for _, view in views(given, "6")))
    np.testing.assert_array_equal(seen[2][:, 1:, 1:], given[:, :-1, :-1])
    np.testing.assert_array_equal(seen[2][:, 0, 1:], given[:, 1, :-1])
    np.testing.assert_array_equal(seen[4][:, :-1, :-1], given[:, 1:, 1:])
    for number in (0, 2, 4):
        np.testing.assert_array_equal(seen[number + 1], seen[number][:, :, ::-1])


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(EXACT), st.integers(0, 99))
def test_averaged_scores_do_not_change_with_the_image(average, seed):
    kernel = np.random.default_rng(seed).normal(size=(36, 4))

    def score(given):
        return np.tanh(given.reshape(len(given), -1) @ kernel / 500)

    assert largest_change(lambda x: averaged(score, x, average), average, images((6, 6, 1), seed=seed)) < 1e-12


def test_the_command_line_names_every_average():
    for command in (cli.commands.commands[name] for name in ("evaluate", "predict")):
        (option,) = [option for option in command.params if option.name == "average"]
        assert option.metavar.split("|") == list(AVERAGES)


def test_averages_that_cannot_be_are_refused():
    with pytest.raises(RequestError, match="average 'c4' needs square images: received 28x32, nearest: 28x28 or"):
        check_average("c4", (28, 32, 1))
    with pytest.raises(RequestError, match="unknown average 'd3': did you mean 'd4'"):
        check_average("d3", (28, 28, 1))
    with pytest.raises(RequestError, match="the same under c4 already; allowed: mirror, d4, 6"):
        check_average("c4", (28, 28, 1), "c4")
    check_average("mirror", (28, 32, 1))
    check_average("6", (28, 32, 1), "d4")


@pytest.mark.slow
def test_evaluate_tells_what_averaging_brings_and_costs(digits_run, tmp_path):
    from recipes import text

    run = Run.open(shutil.copytree(digits_run.path, tmp_path / "run"))
    metrics = evaluate(run, average="6")
    found = metrics["averaged"]
    assert (found["over"], found["passes"], found["metric"]) == ("6", 6, "accuracy")
    assert found["without"] == metrics["accuracy"] == digits_run.metrics["accuracy"]
    test, model = run.load_data().test, run.load_model()
    scores = averaged(lambda x: model.predict(x, verbose=0), test.images, "6")
    assert found["value"] == pytest.approx((scores.argmax(1) == test.labels).mean())
    told = text.evaluation(metrics)
    assert "6 passes of each image in place of one" in told
    assert "McNemar's p" in told
    assert json.loads((run.path / "metrics.json").read_text("utf-8"))["averaged"] == found


def test_predict_averages_probabilities_of_a_run_and_of_a_file(digits_run, int8_file, digit_image):
    from recipes.data.decoding import decode_to

    image = decode_to(digit_image, digits_run.recipe.data.image_shape, "fill")[None]
    score = TFLiteFile(int8_file).predict
    expected = averaged(score, image, "6")[0]
    (found,) = predict(int8_file, [digit_image], top_k=10, average="6")
    assert sorted(value for _, value in found.guesses) == pytest.approx(sorted(expected.tolist()), abs=1e-6)
    (of_run,) = predict(digits_run.path, [digit_image], top_k=10, average="6")
    assert sum(value for _, value in of_run.guesses) == pytest.approx(1, abs=1e-5)
