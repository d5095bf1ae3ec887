"""A thousand classes: nothing that is drawn, printed or written grows with classes x classes, or has no end."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from recipes.data.checks.duplicates import near
from recipes.data.decoding import THUMBNAIL
from recipes.data.labels import ONE_CLASS, SEVERAL_CLASSES
from recipes.report.sections.contents import Page
from recipes.report.sections.mistakes import confusion_matrix
from recipes.support.tables import some_of, to_json
from recipes.tasks.confusion import LARGEST_KEPT, LARGEST_WRITTEN, PAIRS, confusion, draw_matrix, most_confused
from recipes.tasks.metrics import classification_metrics, log_loss
from recipes.text.files import _labels
from recipes.text.training import evaluation


def made_up(classes, *, images=3_000):
    """Metrics of a model that takes half of the images of each class for the next."""
    labels = np.arange(images) % classes
    scores = np.full((images, classes), 0.1 / classes, np.float32)
    scores[np.arange(images), (labels + np.arange(images) // classes % 2) % classes] += 0.9
    return {"task": "classification"} | classification_metrics(
        labels, scores, [f"class {i:04}" for i in range(classes)]
    )


@pytest.fixture(scope="module")
def thousand():
    return made_up(1_000)


def test_the_drawing_of_a_thousand_classes_has_as_few_parts_as_that_of_fifty(thousand):
    parts = {classes: len(draw_matrix(made_up(classes)).findobj()) for classes in (LARGEST_WRITTEN + 10, 200)}
    assert len(draw_matrix(thousand).findobj()) < 1.5 * min(parts.values()) < 500


def test_the_drawing_of_a_thousand_classes_has_one_size_and_shows_each_row(thousand, tmp_path):
    figure = draw_matrix(thousand)
    assert figure.get_size_inches().max() <= 12
    shade = figure.axes[0].images[0].get_array()
    assert shade.shape == (1_000, 1_000)
    assert np.asarray(shade).sum(1) == pytest.approx(np.ones(1_000))
    assert "class 0000 taken for class 0001" in figure.axes[1].texts[0].get_text()
    figure.savefig(tmp_path / "drawn.png", dpi=120)
    assert (tmp_path / "drawn.png").stat().st_size < 2**20


def test_few_classes_are_drawn_with_a_number_in_each_cell():
    figure = draw_matrix(made_up(LARGEST_WRITTEN))
    assert len(figure.axes[0].texts) == LARGEST_WRITTEN**2


@pytest.mark.parametrize("name", ["$\\frac{a$", "a" * 5_000, "_x^y$$"])
def test_names_are_drawn_as_they_are_and_shortened(name, tmp_path):
    labels = np.arange(90) % 45
    names = [f"{name}{i}" for i in range(45)]
    metrics = {"class_names": names} | confusion(labels, (labels + 1) % 45, names)
    draw_matrix(metrics).savefig(tmp_path / "drawn.png", dpi=50)


@pytest.mark.parametrize("classes", [200, 1_000, LARGEST_KEPT + 1])
def test_text_of_many_classes_is_a_page(classes):
    text = evaluation(made_up(classes))
    assert len(text.splitlines()) < 100
    assert max(map(len, text.splitlines())) < 200
    assert f"The {PAIRS} of {classes:,} classes of the lowest f1:" in text
    assert "Most confused:" in text


def test_text_of_many_labels_is_a_page():
    classes = {
        f"label {i}": {"average_precision": None if i % 9 == 0 else i / 1_000, "f1": 0.5, "support": i % 9}
        for i in range(1_000)
    }
    overall = {"map": 0.5, "f1": 0.5, "f1_macro": 0.5, "exact": 0.1, "examples": 50}
    text = evaluation({"task": "multilabel", "per_class": classes, **overall})
    assert len(text.splitlines()) < 40
    assert "The 20 of 1,000 classes of the lowest average precision:" in text
    assert "label 1 " in text  # label 0 has no images
    assert "label 0 " not in text


def test_text_of_few_classes_has_all_of_them_and_the_matrix():
    text = evaluation(made_up(LARGEST_WRITTEN))
    assert text.count("class 0039") >= 3  # its metrics, its row, its column
    assert "Rows are true classes" in text


def test_metrics_of_a_thousand_classes_are_a_line_a_row_and_read_back_the_same(thousand):
    text = to_json(thousand)
    assert json.loads(text) == thousand
    assert len(text) < 4 * 2**20
    assert len(text.splitlines()) < 10_000


def test_of_more_classes_the_matrix_is_left_out_and_the_report_lists_the_pairs():
    metrics = made_up(LARGEST_KEPT + 1)
    assert "confusion_matrix" not in metrics
    page = Page(None, None, None, SimpleNamespace(label_kind=ONE_CLASS), metrics)
    assert confusion_matrix(page).count("<tr>") == PAIRS + 1


def test_the_report_of_a_thousand_classes_has_an_image_and_the_pairs(thousand):
    section = confusion_matrix(Page(None, None, None, SimpleNamespace(label_kind=ONE_CLASS), thousand))
    assert section.count("<tr>") == PAIRS + 1
    assert section.count("<img") == 1
    assert len(section) < 100_000


def test_names_in_messages_and_tables_have_an_end():
    names = [f"class {i}" for i in range(1_000)]
    assert some_of(names) == "class 0, class 1, class 2, class 3, class 4, ..."
    assert _labels(names).startswith("1,000: class 0, ")
    assert len(_labels(names)) < 500
    assert _labels(names[:2]) == "class 0, class 1"
    assert _labels([]) == "none"


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(pairs)
@settings(deadline=None, max_examples=30)
def test_pairs_of_older_metrics_are_those_of_the_labels(seen):
    labels, predicted = np.array(seen).T
    names = [f"class {i}" for i in range(7)]
    found = confusion(labels, predicted, names)
    matrix = reference.confusion_matrix(labels, predicted, labels=np.arange(7))
    assert found["confusion_matrix"] == matrix.tolist()
    older = {"class_names": names, "confusion_matrix": found["confusion_matrix"]}
    assert most_confused(older) == most_confused(found)
    assert sum(pair["images"] for pair in found["most_confused"]) <= matrix.sum() - np.trace(matrix)
    counts = [pair["images"] for pair in found["most_confused"]]
    assert counts == sorted(counts, reverse=True)


@given(st.integers(2, 40), st.integers(1, 50), st.integers(0, 2**32 - 1), st.sampled_from([0, 8]))
@settings(deadline=None, max_examples=30)
def test_loss_and_top_k_are_scikit_learn_s_to_the_last_bit(classes, images, seed, steps):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    scores = random.dirichlet(np.full(classes, 0.3), images).astype(np.float32)
    scores = np.round(scores * steps) / steps if steps else scores  # ties
    proper = np.clip(scores.astype(np.float64), 1e-7, None)
    proper /= proper.sum(axis=1, keepdims=True)
    assert log_loss(labels, scores) == reference.log_loss(labels, proper, labels=np.arange(classes))
    found = classification_metrics(labels, scores, [str(i) for i in range(classes)])
    best = np.argsort(-scores, axis=1, kind="stable")[:, : found["top_k"]["k"]]
    with warnings.catch_warnings(action="ignore"):  # of one label alone
        assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(labels, scores.argmax(1)), abs=1e-12)
    assert found["top_k"]["accuracy"] == (best == labels[:, None]).any(1).mean()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
@settings(deadline=None, max_examples=30)
def test_json_reads_back_the_same(value):
    assert json.loads(to_json(value)) == value


def test_scores_that_are_not_numbers_are_an_error():
    with pytest.raises(ValueError, match="not numbers"):
        log_loss(np.array([0]), np.array([[np.nan, 1.0]]))


@given(st.lists(st.sets(st.integers(0, 11), max_size=4), min_size=2, max_size=40))
@settings(deadline=None, max_examples=30)
def test_several_labels_are_read_and_stratified_as_a_table_of_all_of_them(sets):
    sets = [{0, 11}, *sets]
    texts = ["|".join(f"class {i:02}" for i in sorted(some)) for some in sets]
    labels, names = SEVERAL_CLASSES.parse(texts, "a table")
    assert labels.dtype == np.float32
    assert [SEVERAL_CLASSES.text(row, names) for row in labels] == texts
    _, kind, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
    kind = kind.reshape(-1)
    assert SEVERAL_CLASSES.strata(labels).tolist() == np.where(counts[kind] < 3, -1, kind).tolist()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40))
@settings(deadline=None, max_examples=30)
def test_near_copies_with_classes_are_those_of_each_class_by_itself(drawn):
    scenes = np.random.default_rng(0).integers(20, 230, (6, THUMBNAIL[1], THUMBNAIL[0]))
    thumbnails = np.stack([scenes[scene] + shade for scene, _, shade in drawn]).astype(np.uint8)
    classes = np.array([label for _, label, _ in drawn])
    found = near(thumbnails, classes)
    assert all(len(set(classes[found == number])) == 1 for number in found)
    for label in set(classes.tolist()):
        inside = classes == label
        pairs = [numbers[:, None] == numbers for numbers in (found[inside], near(thumbnails[inside]))]
        assert (pairs[0] == pairs[1]).all()
