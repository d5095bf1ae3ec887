"""What docs/extending.md shows works as it is shown."""

import json
import re
import shutil
from pathlib import Path

import keras  # before TensorFlow, which cannot finish a lazily imported Keras
import numpy as np
import pytest

from recipes.export import export
from recipes.export.kinds import BUDGETS, KINDS, register_kind
from zoo.errors import RequestError

DOCUMENT = Path(__file__).parents[1] / "docs" / "extending.md"


def example(heading: str) -> dict:
    """Runs the Python of a section, and gives the names that it made."""
    section = re.split(r"^## ", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [part for part in section if part.startswith(heading + "\n")]
    names = {"__name__": "example"}
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        exec(compile(code, DOCUMENT.name, "exec"), names)
    return names


@pytest.fixture
def npz(tmp_path, monkeypatch):
    from recipes.data import readers

    monkeypatch.setattr(readers, "READERS", list(readers.READERS))
    example("A data source")
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (60, 9, 8, 3), np.uint8)
    np.savez(tmp_path / "shapes.npz", images=images, labels=np.repeat(["square", "circle"], 30))
    return tmp_path / "shapes.npz"


def test_a_data_source(npz):
    from recipes.data import check, load, open_reader

    data = load(str(npz), split_seed=3)
    assert data.class_names == ("circle", "square")
    assert data.sizes == {"train": 44, "validation": 4, "test": 12}
    assert data.image_shape == data.test.images.shape[1:] == (9, 8, 3)
    assert load(str(npz), image_shape=(6, 6, 1)).train.images.shape[1:] == (6, 6, 1)
    result = check(open_reader(str(npz)))
    assert (result.images, result.errors) == (60, 0)


def test_a_data_source_is_named_where_others_are(npz, tmp_path):
    from recipes.data import load

    with pytest.raises(RequestError, match=r"none\.npz does not exist"):
        load(str(tmp_path / "none.npz"))
    with pytest.raises(RequestError, match=r"allowed: .*TABLE\.csv, ARRAYS\.npz"):
        load(__file__)
    npz.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(RequestError, match=r"shapes\.npz cannot be read"):
        load(str(npz))
    np.savez(npz, images=np.zeros((9, 4, 4)), labels=np.zeros(9, int))
    with pytest.raises(RequestError, match=r"shapes\.npz is not images uint8 \(N, H, W, 1 or 3\)"):
        load(str(npz))


def test_a_metric(digits_run, tmp_path, monkeypatch):
    from recipes.evaluate import evaluate
    from recipes.run import Run
    from recipes.tasks.metrics import METRICS, classification_metrics

    monkeypatch.setitem(METRICS, "classification", {})
    example("A metric")
    labels, right = np.array([0, 1, 1, 0]), np.array([0.2, 0.7, 0.4, 0.9])
    metrics = classification_metrics(labels, np.stack([1 - right, right], axis=1), ("no", "yes"))
    assert metrics["mean_lead"] == pytest.approx(np.abs(2 * right - 1).mean())

    run = Run.open(shutil.copytree(digits_run.path, tmp_path / "run"))
    assert 0 < evaluate(run)["mean_lead"] < 1
    assert json.loads((run.path / "metrics.json").read_text())["mean_lead"] == evaluate(run)["mean_lead"]


def test_a_report_section(digits_run, tmp_path, monkeypatch):
    from recipes.report import report, sections

    for name, there in sections.SECTIONS.items():
        monkeypatch.setitem(sections.SECTIONS, name, there if name == "Summary" else lambda page: "")
    monkeypatch.setitem(sections.SECTIONS, "Classes", None)  # taken out again afterwards
    example("A report section")
    written = report(shutil.copytree(digits_run.path, tmp_path / "run"))
    assert written.sections == ("Summary", "Classes")
    assert '<th scope="row">7</th><td>350</td><td>100</td>' in written.file.read_text("utf-8")


@pytest.fixture
def two_strides(monkeypatch):
    """The example's model, registered for one test."""
    import zoo
    from zoo import anatomy, registry

    zoo.list_models()
    monkeypatch.setattr(registry, "_CARDS", dict(registry._CARDS))
    monkeypatch.setattr(anatomy, "_MEASURED", {})
    example("A model")
    return zoo.get_card("two_strides")


@pytest.fixture
def short_recipe(tmp_path):
    (text,) = re.findall(r"## A recipe\n.*?```toml\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    file = tmp_path / "short.toml"
    file.write_text(text)
    return file


def test_a_model(two_strides):
    import zoo
    from zoo.anatomy import complete

    assert zoo.create_model("two_strides", input_shape=(32, 32, 3), classes=3, filters=4).output_shape == (None, 3)
    assert two_strides.parameters is None
    assert complete(two_strides).parameters == 80 + 1_168 + 544 + 330


def test_a_recipe(two_strides, short_recipe):
    from recipes.training.resolving import resolve

    settings = resolve("two_strides", "digits", short_recipe)
    assert (settings.epochs, settings.optimizer.learning_rate, settings.model.name) == (6, 3e-3, "two_strides")
    short_recipe.write_text(short_recipe.read_text().replace("batch_size", "batch_sice"))
    with pytest.raises(RequestError, match="did you mean 'batch_size'"):
        resolve("two_strides", "digits", short_recipe)


@pytest.mark.slow
def test_a_model_is_trained_by_a_recipe(two_strides, short_recipe, tmp_path):
    from recipes.fit import fit

    fitted = fit("two_strides", data="digits", recipe=short_recipe, out=tmp_path / "run", quiet=True)
    assert fitted.metrics["accuracy"] > 0.15


@pytest.fixture
def kinds():
    """The table of export kinds; what a test adds to it is taken out again."""
    before = set(KINDS)
    yield KINDS
    for name in set(KINDS) - before:
        del KINDS[name], BUDGETS[name]


def test_an_export_kind_is_one_class(digits_run, tmp_path, kinds):
    example("An export kind")
    exported = export(digits_run, to="keras", out=tmp_path / "digits.keras")
    assert (exported.kind, exported.file) == ("keras", str(tmp_path / "digits.keras"))
    assert exported.agreement == 1.0
    assert exported.bytes == (tmp_path / "digits.keras").stat().st_size
    with pytest.raises(ValueError, match="called keras already"):
        register_kind(kinds["keras"])


@pytest.mark.slow
def test_an_augmentation():
    import tensorflow as tf

    from recipes.augment.preview import vary

    augment = example("An augmentation")["Augment"](rotation=10, fill="reflect", negative={"probability": 0.5})
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    (cells,), captions = vary(images, augment, columns=1)
    plain = augment.model_copy(update={"negative": None})
    (unchanged,), _ = vary(images, plain, columns=1)
    inverted = np.array(["negative" in caption for (caption,) in captions])
    assert 5 < inverted.sum() < 35
    assert np.array_equal(cells, np.where(inverted[:, None, None, None], 255 - unchanged, unchanged))
    draws = augment.draw(40, tf.constant([0, 0]))
    dataset = tf.data.Dataset.from_tensors((images, draws)).map(augment)
    assert np.array_equal(next(dataset.as_numpy_iterator()), cells)


def test_a_pooling(monkeypatch, tmp_path):
    from zoo import layers

    layer = example("A pooling")["MidrangePooling2D"]
    monkeypatch.setattr("zoo.layers.pooling.MidrangePooling2D", layer, raising=False)
    monkeypatch.setitem(layers.POOLINGS, "midrange", ("zoo.layers.pooling:MidrangePooling2D", {}))
    images = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)
    windows = images.reshape(2, 3, 2, 2, 2, 3)
    expected = (windows.max((2, 4)) + windows.min((2, 4))) / 2
    model = keras.Sequential([keras.Input((6, 4, 3)), layers.pooling_layer("midrange", 2)])
    assert np.allclose(model(images), expected, atol=1e-6)
    model.save(tmp_path / "model.keras")
    assert np.array_equal(keras.models.load_model(tmp_path / "model.keras")(images), model(images))
    with pytest.raises(RequestError, match="did you mean 'midrange'"):
        layers.pooling_layer("midrnge")
