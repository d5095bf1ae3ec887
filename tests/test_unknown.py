"""Images of no class are told from the known as well as what tells them apart allows."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from images import digit_folders

import zoo
from recipes import text
from recipes.config.presets import load_recipe
from recipes.data import Split, open_reader
from recipes.evaluate import evaluate
from recipes.evaluate.selection import select_unknown
from recipes.evaluate.unknown import features_of, mahalanobis, neighbours, told_apart
from recipes.fit import fit
from recipes.scorers import open_scorer
from recipes.tasks import TASKS
from recipes.training.model import KnownMean, training_batches
from recipes.training.resolving import resolve
from recipes.training.session import load_images
from recipes.training.unknown import with_unknown
from zoo.backend import keras
from zoo.errors import RequestError


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """A folder of images of no digit, in classes that no digit has."""
    from PIL import Image

    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for name in ("fog", "snow"):
        (folder / name).mkdir()
        for number in range(20):
            Image.fromarray(random.integers(0, 256, (28, 28), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


def test_noise_is_told_from_digits(digits_run, int8_file, noise):
    before = (digits_run.path / "metrics.json").read_bytes()
    try:
        found = evaluate(digits_run, unknown=str(noise))
    finally:
        (digits_run.path / "metrics.json").write_bytes(before)
    measured = found["unknown"]
    assert (measured["images"], measured["unknown_images"]) == (1_000, 40)
    assert set(measured["by"]) == {
        "maximum probability",
        "maximum logit",
        "energy",
        "nearest neighbours",
        "Mahalanobis",
    }
    assert max(one["auroc"] for one in measured["by"].values()) > 0.9
    assert "nearest neighbours" in text.evaluation(found)
    of_file = evaluate(int8_file, data="digits", unknown=str(noise))["unknown"]
    assert list(of_file["by"]) == ["maximum probability"]
    assert of_file["by"]["maximum probability"]["auroc"] == pytest.approx(
        measured["by"]["maximum probability"]["auroc"], abs=0.05
    )


def test_unknown_images_that_cannot_be_read_are_left_out_if_asked_for(int8_file, noise, tmp_path):
    folder = shutil.copytree(noise, tmp_path / "noise")
    (folder / "fog" / "broken.png").write_bytes(b"no image")
    chosen, scorer = select_unknown(open_reader(str(folder))), open_scorer(int8_file)
    with pytest.raises(RequestError, match=r"broken.png .* leave them out with --skip-bad"):
        chosen.images(scorer)
    assert len(chosen.images(scorer, skip_bad=True)) == 40


def test_what_was_learnt_is_not_unknown(digits_run):
    with pytest.raises(RequestError, match=r"is what .* was trained on; --unknown takes images of no class"):
        evaluate(digits_run, unknown="digits")


def test_a_case_worked_by_hand():
    known, others = np.array([0.9, 0.8, 0.3]), np.array([0.5, 0.1])
    assert told_apart(known, others) == {"auroc": pytest.approx(5 / 6), "fpr_at_95": 0.5}  # 0.3 is the 5 % quantile
    seen = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 3.0]])
    near = neighbours(seen)(np.array([[2.0, 2.0], [-1.0, -1.0]]))  # by direction, the second of two nearest
    assert near == pytest.approx([0, -np.sqrt(2 + np.sqrt(2))])


def test_mahalanobis_distance_is_scipys():
    from scipy.spatial.distance import mahalanobis as reference

    random = np.random.default_rng(0)
    labels = np.repeat([2, 5], 40)
    seen = random.standard_normal((80, 3)) @ random.standard_normal((3, 3)) + labels[:, None]
    apart = np.concatenate([seen[labels == one] - seen[labels == one].mean(0) for one in (2, 5)])
    inverse = np.linalg.inv(apart.T @ apart / 80)
    some = random.standard_normal((6, 3)) + 3
    expected = [-min(reference(row, seen[labels == one].mean(0), inverse) ** 2 for one in (2, 5)) for row in some]
    assert mahalanobis(seen, labels)(some) == pytest.approx(expected)


@pytest.mark.parametrize("how", [{"pooling": "average"}, {"pooling": "convolutional"}, {"symmetry": "mirror"}], ids=str)
def test_features_are_one_row_an_image_whatever_the_head(how):
    model = zoo.create_model("lenet5", input_shape=(28, 28, 1), **({"pooling": "max"} | how))
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    features = features_of(model)(images)
    assert features.ndim == 2
    assert len(features) == 5
    if "symmetry" in how:
        np.testing.assert_allclose(features_of(model)(images[:, :, ::-1]), features, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def exposed(tmp_path_factory, noise):
    """A run that learnt three digits, against noise."""
    data, out = digit_folders(tmp_path_factory.mktemp("digits"), "012"), tmp_path_factory.mktemp("runs") / "run"
    settings = ["epochs=2", f"unknown.source={noise}"]
    return fit("lenet5", data=str(data), out=out, recipe="quick", overrides=settings, quiet=True).run


def test_a_run_learns_against_unknown_images_and_leaves_some_to_be_tested_on(exposed, noise):
    assert exposed.recipe.unknown.source == str(noise)
    found = evaluate(exposed, unknown=str(noise))["unknown"]
    assert found["unknown_images"] == 8  # a fifth of each of two folders of 20
    assert exposed.history[-1]["accuracy"] <= 1
    images = load_images(exposed.recipe, exposed.split_table, quiet=True)
    assert len(images.unknown) == 32
    exposed.check_data(images)
    with pytest.raises(RequestError, match=r"does not hold the unknown images that .* was trained against"):
        exposed.check_data(replace(images, unknown=images.unknown[1:]))


def test_what_is_learnt_from_cannot_be_unknown(exposed):
    source = exposed.recipe.data.source
    settings = resolve("lenet5", source, "quick", [f"unknown.source={source}"])
    with pytest.raises(RequestError, match="is what classes are learned from"):
        load_images(settings, None, quiet=True)


def test_batches_with_unknown_images_go_on_where_they_were_and_weigh_them():
    recipe = load_recipe("quick", ["unknown.source=digits", "batch_size=8", "epochs=2", "augment=digits"])
    random = np.random.default_rng(0)
    train = Split(random.integers(0, 256, (20, 12, 12, 1), np.uint8), np.arange(20) % 4)
    unknown = random.integers(0, 256, (5, 12, 12, 1), np.uint8)

    def batches(first):
        known = training_batches(train, recipe, 4, first_epoch=first)
        made = with_unknown(known, unknown, recipe, len(train), 4, first_epoch=first)
        return list(made.as_numpy_iterator())

    whole = batches(0)
    assert len(whole) == 6
    for one, again in zip(whole[3:], batches(1), strict=True):
        for mine, theirs in zip(one, again, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    images, targets, weights = whole[0]
    assert (images.shape, targets.shape, weights.shape) == ((16, 12, 12, 1), (16, 4), (16,))
    assert (targets[8:] == 0.25).all()
    scores = random.dirichlet(np.ones(4), 16).astype(np.float32)
    entropy = -(targets * np.log(scores)).sum(1)
    loss = TASKS["classification"].loss(recipe, None)(targets, scores, sample_weight=weights)
    assert float(loss) == pytest.approx(entropy[:8].mean() + 0.5 * entropy[8:].mean(), rel=1e-5)
    metric = KnownMean(TASKS["classification"])
    metric.update_state(targets, scores, weights)
    assert float(metric.result()) == pytest.approx((targets.argmax(1) == scores.argmax(1))[:8].mean())


def test_weights_of_unknown_images_are_what_fit_takes():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(), metrics=[KnownMean(TASKS["classification"])])
    x = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    y = np.array([[1, 0, 0], [0, 1, 0], [1 / 3] * 3, [1 / 3] * 3], np.float32)
    scores = model.predict(x, verbose=0)
    entropy = -(y * np.log(scores)).sum(1)
    found = model.train_on_batch(x, y, sample_weight=np.array([2, 2, 1, 1], np.float32), return_dict=True)
    assert found["loss"] == pytest.approx(entropy[:2].mean() + 0.5 * entropy[2:].mean(), rel=1e-4)
    assert found["accuracy"] == pytest.approx((scores[:2].argmax(1) == [0, 1]).mean())
