"""A student learns from what its teachers make of the very images that it sees."""

import shutil

import numpy as np
import pytest
from images import digit_folders

from recipes.config.presets import load_recipe
from recipes.config.settings import Distill
from recipes.cross_validate import cross_validate
from recipes.data import Split
from recipes.finetune import finetune
from recipes.fit import fit, resume
from recipes.report import report
from recipes.run.folder import Run
from recipes.tasks import TASKS
from recipes.training.distill import LabelMean, Teacher, Teachers, distillation_loss, load_teachers, soft
from recipes.training.model import training_batches
from recipes.training.resolving import resolve
from recipes.training.session import load_images
from zoo.backend import keras, tf
from zoo.errors import RequestError


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_the_loss_is_that_of_the_paper():
    random = np.random.default_rng(0)
    logits, taught = random.normal(0, 3, (2, 5, 4)).astype(np.float32)
    labels = np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 0]]
    recipe = load_recipe("quick", ["label_smoothing=0.1"])
    loss = distillation_loss(recipe, Distill(teachers=("a",), temperature=3.0, weight=0.7))
    q, p = softmax(logits / 3), softmax(taught / 3)
    smooth = 0.9 * labels + 0.1 / 4
    expected = 0.3 * -(smooth * np.log(softmax(logits))).sum(1) + 0.7 * 9 * (p * np.log(p / q)).sum(1)
    targets = np.concatenate([labels, soft(tf.constant(softmax(taught)), 3.0)], axis=1)
    np.testing.assert_allclose(loss(tf.constant(targets), tf.constant(softmax(logits))), expected, rtol=1e-4)
    alone = loss(tf.constant(labels), tf.constant(softmax(logits)))
    np.testing.assert_allclose(alone, -(smooth * np.log(softmax(logits))).sum(1), rtol=1e-4)


def test_gradients_are_in_proportion_at_high_temperatures():
    """Equation 4: as T grows, T² times the gradient of the soft part nears (z - v) / classes, if both have mean 0."""
    random = np.random.default_rng(1)
    z, v = random.normal(size=(2, 1, 6)).astype(np.float32)
    z, v = z - z.mean(), v - v.mean()
    loss = distillation_loss(load_recipe("quick"), Distill(teachers=("a",), temperature=50.0, weight=1.0))
    targets = tf.concat([tf.one_hot([0], 6), soft(tf.nn.softmax(v), 50.0)], axis=1)
    logits = tf.Variable(z)
    with tf.GradientTape() as tape:
        value = loss(targets, tf.nn.softmax(logits))
    np.testing.assert_allclose(tape.gradient(value, logits), (z - v) / 6, atol=0.02)


def test_a_certain_student_keeps_its_gradient():
    loss = distillation_loss(load_recipe("quick"), Distill(teachers=("a",), temperature=1.0, weight=1.0))
    logits = tf.Variable([[40.0, 0.0, -20.0]])
    with tf.GradientTape() as tape:
        value = loss(tf.constant([[0.0, 1.0, 0.0, 0.1, 0.9, 0.0]]), tf.nn.softmax(logits))
    np.testing.assert_allclose(tape.gradient(value, logits), [[0.9, -0.9, 0.0]], atol=1e-4)


def small_model(shape, classes, seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input(shape)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(6, 3, activation="relu")(image / 255))
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(features))


def test_teachers_see_what_the_student_sees_and_their_mean_counts():
    recipe = load_recipe("quick", ['distill.teachers=["a","b"]', "batch_size=8", "epochs=2", "augment=digits"])
    random = np.random.default_rng(0)
    train = Split(random.integers(0, 256, (20, 12, 12, 1), np.uint8), np.arange(20) % 4)
    one, other = small_model((12, 12, 1), 4, 1), small_model((12, 12, 1), 4, 2)
    order = (2, 0, 3, 1)
    teachers = Teachers((Teacher(one, (0, 1, 2, 3), ""), Teacher(other, order, "")), 4.0)

    def batches(first):
        return list(teachers.joined(training_batches(train, recipe, 4, first_epoch=first)).as_numpy_iterator())

    whole = batches(0)
    alone = list(training_batches(train, recipe, 4).as_numpy_iterator())
    assert len(whole) == 6
    for (images, targets), (seen, labels) in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(images, seen)
        np.testing.assert_array_equal(targets[:, :4], labels)
        said = [one.predict(images, verbose=0), other.predict(images, verbose=0)[:, order]]
        expected = np.mean([softmax(np.log(scores) / 4) for scores in said], axis=0)
        np.testing.assert_allclose(targets[:, 4:], expected, atol=1e-5)
    for mine, theirs in zip(whole[3:], batches(1), strict=True):
        np.testing.assert_array_equal(mine[1], theirs[1])
    metric = LabelMean(TASKS["classification"])
    metric.update_state(whole[0][1], alone[0][1])
    assert float(metric.result()) == 1.0


@pytest.mark.parametrize(("own", "theirs"), [((10, 8, 1), (20, 16, 3)), ((20, 20, 3), (10, 10, 1))])
def test_a_teacher_may_have_another_size_and_other_channels(own, theirs):
    teacher = Teacher(small_model(theirs, 3, 1), (0, 1, 2), "")
    images = tf.cast(tf.fill((2, *own), 120), tf.uint8)
    expected = teacher.model(tf.fill((2, *theirs), 120.0))
    np.testing.assert_allclose(teacher.probabilities(images), expected, atol=1e-3)


@pytest.fixture(scope="module")
def taught(tmp_path_factory, prepared_data_folder):
    """A folder of three digits, a teacher, and a student of it that was killed at its beginning."""
    folder = tmp_path_factory.mktemp("distill")
    data = str(digit_folders(folder / "digits", "012"))
    given = {"data": data, "recipe": "quick", "quiet": True, "overrides": ["epochs=2"]}
    teacher = fit("lenet5", out=folder / "teacher", **given).run
    student = fit("lenet1", out=folder / "student", teachers=[teacher.path], **given).run
    return data, teacher, student


def test_a_run_says_what_it_learned_from(taught):
    _, teacher, student = taught
    assert student.recipe.distill.teachers == (str(teacher.path.absolute()),)
    assert len(student.recipe.distill.digests[0]) == 64
    assert student.history[-1]["accuracy"] <= 1
    report(student)
    for file in ("report.html", "CARD.md"):
        assert f"{teacher.path} (temperature 4, weight 0.9)" in (student.path / file).read_text("utf-8")


def test_teachers_that_changed_or_are_gone_are_told(taught, tmp_path):
    _, teacher, student = taught
    images = load_images(student.recipe, student.split_table, quiet=True)
    copy = Run.open(shutil.copytree(student.path, tmp_path / "student"))
    (copy.path / "metrics.json").unlink()
    (copy.path / "model.keras").unlink()
    text = (copy.path / "recipe.toml").read_text("utf-8")
    (copy.path / "recipe.toml").write_text(text.replace(student.recipe.distill.digests[0], 64 * "0"), "utf-8")
    with pytest.raises(RequestError, match=r"the teacher .*teacher has other weights than when this training began"):
        resume(copy.path, quiet=True)
    (copy.path / "recipe.toml").write_text(text.replace(str(teacher.path), str(tmp_path / "gone")), "utf-8")
    with pytest.raises(RequestError, match=r"the teacher cannot be used: .*gone does not exist\. Bring .*gone back"):
        resume(copy.path, quiet=True)
    with pytest.raises(RequestError, match="its training did not finish"):
        load_teachers(Distill(teachers=(str(copy.path),)), images)


def test_what_a_teacher_cannot_be_for_is_told_in_a_line(taught, tmp_path, digits_run):
    data, teacher, _ = taught
    asked = {"data": data, "out": tmp_path / "run", "recipe": "quick", "quiet": True}
    with pytest.raises(RequestError, match=r"other classes than .*: 3, 4, 5, 6, 7 are in one of them only"):
        fit("lenet1", teachers=[digits_run.path], **asked)
    with pytest.raises(RequestError, match="is the teacher; choose another folder"):
        fit("lenet1", teachers=[teacher.path], **asked | {"out": teacher.path, "overwrite": True})
    with pytest.raises(RequestError, match="is named twice"):
        fit("lenet1", teachers=[teacher.path, teacher.path], **asked)
    with pytest.raises(RequestError, match="class_weight='none'"):
        fit("lenet1", teachers=[teacher.path], overrides=["class_weight=balanced"], **asked)
    recipe = load_recipe("quick", [f'distill.teachers=["{teacher.path}"]'])
    with pytest.raises(RequestError, match="by `zoo fit` alone"):
        cross_validate("lenet1", data=data, recipe=recipe, folds=2)
    tuned = load_recipe("head", [f'distill.teachers=["{teacher.path}"]'], kind="finetune")
    with pytest.raises(RequestError, match="by `zoo fit` alone"):
        finetune(teacher.path, data=data, out=tmp_path / "run", recipe=tuned)
    with pytest.raises(RequestError, match="teachers are for one class an image"):
        TASKS["multilabel"].check(resolve("lenet1", data, recipe))
