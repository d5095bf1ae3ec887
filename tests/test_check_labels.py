"""Wrong labels: found in a folder, decided on a page, and read back."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from browser import open_page
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from images import digit_folders, save, table
from PIL import Image

from cli import main
from recipes.check_labels import check_labels
from recipes.data import load
from recipes.evaluate import evaluate
from recipes.evaluate.label_errors import find_label_errors, unlike_any_class
from zoo.errors import RequestError

MOVED = {("2/5.png", "7"), ("7/11.png", "1"), ("1/0.png", "2"), ("1/4.png", "7")}  # file, and the class it is put in


def planted(folder):
    """Images of three digits, four of them in the folder of another."""
    digit_folders(folder, "127", 30)
    for name, wrong in MOVED:
        digit, file = name.split("/")
        shutil.move(folder / name, folder / wrong / f"was-{digit}-{file}")
    return folder


def one_by_one(labels, scores):
    """The definition, image by image."""
    images, classes = scores.shape
    bars = [np.mean([scores[i][k] for i in range(images) if labels[i] == k] or [np.inf]) for k in range(classes)]
    found = {}
    for i in range(images):
        above = [k for k in range(classes) if scores[i][k] >= bars[k]]
        if above:
            best = max(above, key=lambda k: (scores[i][k], -k))
            if best != labels[i] and scores[i][best] >= scores[i][labels[i]]:
                found[i] = best
    return found


@given(st.data())
def test_as_many_are_suspected_as_the_definition_counts_and_those_believed_least(data):
    classes = data.draw(st.integers(2, 5))
    steps = data.draw(arrays(np.int64, st.tuples(st.integers(1, 12), st.just(classes)), elements=st.integers(0, 8)))
    scores = (steps + 1) / (steps + 1).sum(axis=1, keepdims=True)
    labels = data.draw(arrays(np.int64, len(scores), elements=st.integers(0, classes - 1)))
    found = find_label_errors(labels, scores)
    own, best = scores[np.arange(len(scores)), labels], scores.max(axis=1)
    # means in another order differ in the last digit: a score that is a mean may be on either side of it
    means = np.array([scores[labels == k, k].mean() if (labels == k).any() else np.inf for k in range(classes)])
    if not (np.abs(scores - means) < 1e-9).any():
        assert len(found.rows) == min(len(one_by_one(labels, scores)), (own < best).sum())
    assert (own[found.rows] < best[found.rows]).all()
    assert (scores[found.rows, found.likely] == best[found.rows]).all()
    others = np.setdiff1d(np.flatnonzero(own < best), found.rows)
    if len(found.rows) and len(others):
        assert (own / best)[others].min() >= found.ratios.max()
    assert (np.diff(found.ratios) >= 0).all()
    np.testing.assert_allclose(found.ratios, (own / best)[found.rows])


def test_an_image_of_equal_scores_is_like_no_class():
    scores = np.array([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01], [0.02, 0.01, 0.97], [0.34, 0.33, 0.33], [0.5, 0.3, 0.2]])
    assert unlike_any_class(np.array([0, 1, 2, 0, 1]), scores).tolist()[0] == 3
    assert unlike_any_class(np.array([0, 1, 2]), scores[:3]).tolist() == []


@pytest.fixture(scope="module")
def checked(tmp_path_factory, digits_run):
    folder = planted(tmp_path_factory.mktemp("planted") / "digits of mine")
    same = folder / "7" / "30.png"
    save(Image.open(folder / "2" / "9.png"), same)  # one image with two labels
    page = folder.parent / "labels.html"
    return check_labels(str(folder), digits_run.path, out=page), folder, page


def test_a_run_finds_labels_that_were_changed(checked):
    result, folder, _ = checked
    expected = {(f"{folder}/{wrong}/was-{name.replace('/', '-')}", name[0]) for name, wrong in MOVED}
    found = {(suspect["image"], suspect["likely"]) for suspect in result.suspects}
    assert result.images == 91
    assert expected <= found
    assert len(found) <= 8
    assert json.loads(json.dumps(result.to_dict()))["learnt"] == 0


def test_what_looks_the_same_and_has_two_labels_is_told(checked):
    result, folder, _ = checked
    groups = [{(one["image"], one["label"]) for one in group} for group in result.alike]
    assert {(f"{folder}/2/9.png", "2"), (f"{folder}/7/30.png", "7")} in groups
    assert all(len({label for _, label in group}) > 1 for group in groups)


DECIDE = """<script>
document.querySelectorAll('[data-row]').forEach((card) => {
  if (!card.querySelector('.name').title.includes('was-')) return;
  const dropped = card.querySelector('.name').title.includes('was-1-4');
  card.focus();
  card.dispatchEvent(new KeyboardEvent('keydown', { key: dropped ? 'd' : 'r' }));
});
const kept = document.createElement('pre'); kept.id = 'kept';
kept.textContent = JSON.stringify(table()); document.body.append(kept);
</script></body>"""


@pytest.mark.parametrize("options", [(), ("--window-size=390,844",)], ids=("desk", "phone"))
def test_what_is_decided_by_keyboard_is_a_table_that_loads(checked, tmp_path, options):
    _, folder, page = checked
    acted = tmp_path / "acted.html"
    acted.write_text(page.read_text("utf-8").replace("</body>", DECIDE), "utf-8")
    document, complaints = open_page(acted, tmp_path / "profile", *options)
    assert complaints == []
    lines = json.loads(re.search(r'<pre id="kept">(.*?)</pre>', document, re.DOTALL)[1])
    with open(tmp_path / "labels.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    (folder / "7" / "30.png").unlink(missing_ok=True)  # two labels of one file stop a training; one goes
    kept = [line for line in lines if not line[0].endswith("7/30.png")]
    table(tmp_path / "mended.csv", ",".join(kept[0]), [",".join(line) for line in kept[1:]])
    data = load(str(tmp_path / "mended.csv"), image_shape=(28, 28, 1), quiet=True)
    label_of = {
        file: data.class_names[label]
        for split in data.parts.values()
        for file, label in zip(split.files, split.labels, strict=True)
    }
    assert len(label_of) == 89
    assert label_of[f"{folder}/7/was-2-5.png"] == "2"
    assert f"{folder}/7/was-1-4.png" not in label_of
    assert label_of[f"{folder}/1/1.png"] == "1"


def predictions(path, names, labels, scores, classes):
    lines = [f"{n},1,{classes[k]},{','.join(map(str, row))}" for n, k, row in zip(names, labels, scores, strict=True)]
    return table(path, f"image,fold,label,{','.join(classes)}", lines)


def test_out_of_fold_predictions_are_matched_to_their_files(tmp_path, monkeypatch):
    folder = digit_folders(tmp_path / "set", "03", 5)
    names = [f"set/{digit}/{number}.png" for digit in "03" for number in (4, 0, 2)]
    scores = [[0.9, 0.1]] * 2 + [[0.1, 0.9]] * 4
    file = predictions(tmp_path / "oof.csv", names, [0, 0, 0, 1, 1, 1], scores, "03")
    monkeypatch.chdir(tmp_path)
    result = check_labels("set", file)
    assert result.images == 6
    assert [(one["image"], one["likely"]) for one in result.suspects] == [("set/0/2.png", "3")]
    (folder / "0" / "4.png").unlink()
    with pytest.raises(RequestError, match=r"oof.csv has the image set/0/4.png, which .* does not have"):
        check_labels("set", file)


def test_out_of_fold_predictions_of_a_set_without_files_are_matched_by_row(tmp_path):
    data = load("digits", quiet=True)
    rows = np.concatenate([data.train.labels, data.validation.labels])
    scores = np.full((len(rows), 10), 0.01)
    scores[np.arange(len(rows)), rows] = 0.91
    scores[7] = np.roll(scores[7], 1)
    file = predictions(tmp_path / "oof.csv", range(len(rows)), rows, scores, "0123456789")
    result = check_labels("digits", file)
    assert [one["image"] for one in result.suspects] == ["train 7"]
    twice = predictions(tmp_path / "twice.csv", [3, 7, 3], rows[[3, 7, 3]], scores[[3, 7, 3]], "0123456789")
    with pytest.raises(RequestError, match=r"twice.csv has the image 3 twice; cross-validation scores each once"):
        check_labels("digits", twice)
    other = predictions(tmp_path / "other.csv", range(len(rows)), rows[::-1], scores, "0123456789")
    with pytest.raises(RequestError, match="for the image 0; digits has it as"):
        check_labels("digits", other)


def test_a_class_that_the_model_lacks_is_refused_as_evaluate_refuses_it(digits_run, tmp_path):
    folder = digit_folders(tmp_path / "set", "03", 5)
    (folder / "0").rename(folder / "zero")
    told = []
    for look in (lambda: check_labels(str(folder), digits_run.path), lambda: evaluate(digits_run, data=str(folder))):
        with pytest.raises(RequestError, match=r"unknown class 'zero'") as refused:
            look()
        told.append(str(refused.value))
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("image,label,0,1", "0,1,.5,.5", "has no column fold"),
        ("image,fold,label,0,1", "0,1,1,.5,.5", "has scores of 2 classes that are not those of digits"),
    ],
)
def test_a_table_of_something_else_is_one_line(tmp_path, capsys, header, line, expected):
    file = table(tmp_path / "odd.csv", header, [line])
    assert main(["data", "check", "digits", "--labels", str(file)]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert expected in told


def test_at_the_command_line(checked, digits_run, tmp_path, capsys):
    _, folder, _ = checked
    asked = ["data", "check", str(folder), "--labels", str(digits_run.path), "--out"]
    assert main([*asked, str(tmp_path / "l.html")]) == 0
    printed = capsys.readouterr().out
    assert "was-2-5.png  labelled 7" in printed
    assert f"written to {tmp_path / 'l.html'}" in printed
    assert main(["data", "check", str(folder), "--out", "l.html"]) == 2
    assert main([*asked, "l.txt"]) == 2
    assert "allowed: a file in an existing folder that ends in .html" in capsys.readouterr().err


def test_of_the_run_s_own_set_what_it_was_trained_on_is_said(digits_run):
    result = check_labels("digits", digits_run.path)
    assert (result.images, result.learnt) == (5000, 3500)
    flags = [suspect["learnt"] for suspect in result.suspects]
    assert flags == sorted(flags)
    assert False in flags
