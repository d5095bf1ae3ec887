"""Images of no class are told from the known as well as what tells them apart allows."""

import numpy as np
import pytest

import zoo
from recipes import text
from recipes.evaluate import evaluate
from recipes.evaluate.unknown import features_of, mahalanobis, neighbours, told_apart
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
