"""Fine-tuning: what is cached changes nothing but the time, and what is frozen does not move."""

import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tomli_w
from images import class_folders, digit_folders

import recipes.training.loop
import zoo
from recipes.config.presets import list_finetunings, load_recipe
from recipes.config.settings import FineTune
from recipes.data import Data, load
from recipes.embed import embed
from recipes.finetune import choose, finetune
from recipes.fit import fit, resume
from recipes.run.folder import Run
from recipes.training.loop import train
from recipes.training.model import compile_model
from recipes.transfer.backbone import build
from recipes.transfer.features import Frozen
from recipes.transfer.phases import (
    FineTuning,
    batch_norm_statistics,
    layer_rates,
    second_phase,
    set_batch_norm,
    train_in_phases,
)
from recipes.transfer.source import open_source
from zoo.errors import RequestError
from zoo.stages import below_layers, boundaries, chained, cut, take_apart

SHORT = ["epochs=2", "finetune.epochs=2", "augment=none"]


def few(split, count=120):
    return split[np.arange(count)]


@pytest.fixture(scope="module")
def digits():
    data = load("digits", image_shape=(16, 16, 1), quiet=True)
    return replace(data, **{part: few(getattr(data, part)) for part in ("train", "validation", "test")})


@pytest.fixture
def resnet():
    """A network with BatchNorm whose statistics are not where they start, in one head's initial state."""
    keras.utils.set_random_seed(0)
    model = zoo.create_model("resnet8", input_shape=(16, 16, 1), classes=10, dropout=0.2)
    draw = np.random.default_rng(0)
    for layer in model.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(draw.normal(0, 0.2, layer.moving_mean.shape))
            layer.moving_variance.assign(draw.uniform(0.5, 2, layer.moving_variance.shape))
    return model


def recipe_of(*settings):
    return load_recipe("head", ["epochs=3", "early_stopping=0", *settings], kind="finetune")


@pytest.mark.slow
def test_the_head_learns_from_cached_features_what_it_learns_through_the_frozen_backbone(digits, resnet, tmp_path):
    recipe, start = recipe_of(), resnet.get_weights()
    ends = []
    for cached in (True, False):
        resnet.set_weights(start)
        parts = take_apart(resnet)
        below = chained(parts.scaling, parts.backbone, parts.pooling)
        if cached:
            head = chained(parts.classifier)
            frozen = Frozen(below, digits.train.images.dtype)
            data = replace(digits, train=frozen(digits.train), validation=frozen(digits.validation))
        else:
            head, data = chained(below, parts.classifier), digits
            parts.backbone.trainable = False
        compile_model(head, recipe, data)
        train(head, data, recipe, Run.create(tmp_path / str(cached)), quiet=True)
        ends.append(resnet.get_weights())
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(start, ends[0], strict=True)), "nothing was learnt"
    for one, other in zip(*ends, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_two_parts_of_a_cut_are_the_backbone():
    for name, shape in [("resnet8", (16, 16, 3)), ("all_cnn_c", (16, 16, 3)), ("lenet5", (32, 32, 3))]:
        backbone = zoo.create_model(name, input_shape=shape).get_layer("backbone")
        x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
        cuts = [{"stages": number + 1} for number in range(len(boundaries(backbone)))]
        cuts += [{"layers": number + 1} for number in range(len(below_layers(backbone)))]
        for where in cuts:
            both = cut(backbone, **where)
            again = both.upper(both.lower(x, training=False), training=False)
            np.testing.assert_allclose(again, backbone(x, training=False), atol=1e-5)
            assert both.upper.trainable_weights


def test_a_stage_is_cut_where_there_is_least_to_keep():
    backbone = zoo.create_model("efficientnet_lite0", input_shape=(64, 64, 3)).get_layer("backbone")
    assert [tuple(tensor.shape[1:]) for tensor in boundaries(backbone)] == [
        *[(32, 32, 16), (16, 16, 24), (8, 8, 40), (4, 4, 112)]
    ]
    with pytest.raises(RequestError, match="allowed: 0 to 4"):
        cut(backbone, stages=5)


def test_the_last_layers_are_cut_off_above_what_a_skip_connection_goes_past():
    backbone = zoo.create_model("efficientnet_lite0", input_shape=(64, 64, 3)).get_layer("backbone")
    learning = [counted(cut(backbone, layers=number).upper) for number in range(1, 9)]
    assert learning[3] == ["block15_expand", "block15_depthwise", "block15_project", "last"]
    assert [len(names) for names in learning] == [1, 2, 3, 4, 7, 7, 7, 10]  # the blocks below have a connection
    with pytest.raises(RequestError, match="layers=99 is not possible for this backbone; allowed: 0 to "):
        cut(backbone, layers=99)


def counted(model):
    return [layer.name for layer in model.layers if layer.weights and "BatchNorm" not in type(layer).__name__]


@pytest.mark.parametrize("stages", [1, pytest.param('"all"', marks=pytest.mark.slow)])
def test_statistics_of_what_is_unfrozen_stay_unless_they_are_asked_to_move(resnet, tmp_path, stages):
    resnet.save(tmp_path / "start.keras")
    folder = digit_folders(tmp_path / "images", "012")
    moved = {}
    for mode in ("frozen", "trained"):
        settings = [*SHORT, f"finetune.stages={stages}", f"finetune.batch_norm={mode}"]
        run = finetune(
            tmp_path / "start.keras",
            data=str(folder),
            out=tmp_path / mode,
            recipe="last-stage",
            overrides=settings,
            quiet=True,
        ).run
        tuned = run.load_model().get_layer("backbone")
        pairs = zip(batch_norm_statistics(resnet.get_layer("backbone")), batch_norm_statistics(tuned), strict=True)
        moved[mode] = max(np.abs(one - other).max() for one, other in pairs)
    assert moved["frozen"] == 0
    kept = json.loads((tmp_path / "trained" / "metrics.json").read_text())
    assert kept["accuracy"] >= 0


@pytest.mark.slow
def test_batch_norm_that_is_not_frozen_does_move(digits, resnet, tmp_path):
    before = batch_norm_statistics(resnet)
    for trainable in (False, True):
        set_batch_norm(resnet, trainable=trainable)
        compile_model(resnet, recipe_of("epochs=1"), digits)
        train(resnet, digits, recipe_of("epochs=1"), Run.create(tmp_path / str(trainable)), quiet=True)
        pairs = zip(before, batch_norm_statistics(resnet), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs) is not trainable


def test_layers_far_from_the_head_learn_more_slowly(digits, tmp_path):
    keras.utils.set_random_seed(0)
    model = zoo.create_model("lenet5", input_shape=(28, 28, 1))
    rates = layer_rates(model.get_layer("backbone"), 0.5)
    c1, c3 = model.get_layer("backbone").get_layer("C1"), model.get_layer("backbone").get_layer("C3")
    assert (rates[id(c3.kernel)], rates[id(c1.kernel)], rates[id(c1.bias)]) == (0.5, 0.25, 0.25)

    x, y = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1)), np.arange(8)
    start, steps = model.get_weights(), []
    data = Data("", tuple("0123456789"), None, *[replace(digits.train, images=x, labels=y)] * 3)
    recipe = recipe_of(
        "optimizer.name=sgd", "optimizer.momentum=0", "optimizer.weight_decay=0", "schedule.name=constant"
    )
    for chosen in (None, rates):
        model.set_weights(start)
        compile_model(model, recipe, data, rates=chosen)
        model.train_on_batch(x, y)
        steps.append([after - before for after, before in zip(model.get_weights(), start, strict=True)])
    factors = [rates.get(id(weight), 1.0) for weight in model.weights]
    for whole, slowed, factor in zip(*steps, factors, strict=True):
        np.testing.assert_allclose(slowed, factor * whole, rtol=1e-3, atol=1e-7)
        assert np.abs(whole).max() > 0


@pytest.mark.slow
def test_a_run_becomes_a_run_for_other_classes(digits_run, tmp_path, forked_command):
    folder = digit_folders(tmp_path / "images", "357")
    code, out, err = forked_command("finetune", digits_run.path, "--data", folder, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert "recipe last-stage, for 66 training images" in err
    assert json.loads(out)["class_names"] == ["3", "5", "7"]
    run = Run.open(tmp_path / "run")
    assert {"model.keras", "recipe.toml", "history.csv", "labels.txt", "metrics.json", "split.csv"} <= {
        file.name for file in run.path.iterdir()
    }
    assert not list((run.path / "checkpoints").iterdir())
    assert run.recipe.finetune.source == str(digits_run.path)
    assert run.recipe.finetune.stages == 1
    with open(run.path / "history.csv") as file:
        epochs = [int(row["epoch"]) for row in csv.DictReader(file)]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(run.load_data().train) == 66

    from recipes.evaluate.scoring import evaluate
    from recipes.export.handover import export

    assert evaluate(run)["accuracy"] == json.loads(out)["accuracy"] > 0.7
    assert export(run, to="float32").agreement == 1


def test_a_keras_file_gets_the_head_of_its_paper_as_a_run_does(digits_run):
    heads = []
    for source in (open_source(digits_run.path), open_source(digits_run.path / "model.keras")):
        model = build(source, source.model, classes=3)
        heads.append([(layer.name, [tuple(w.shape) for w in layer.weights]) for layer in model.layers[3:]])
    assert heads[0] == heads[1]
    assert "hidden_1" in dict(heads[0])


@pytest.mark.slow
def test_a_fine_tuning_that_was_stopped_ends_as_one_that_was_not(digits_run, tmp_path, monkeypatch, interrupted):
    folder, settings = digit_folders(tmp_path / "images", "357"), [*SHORT, "finetune.views=2", "augment.rotation=10"]
    monkeypatch.setattr(recipes.training.loop, "CHECKPOINT_SECONDS", 0)
    how = {"data": str(folder), "recipe": "last-stage", "overrides": settings[:2] + settings[3:], "quiet": True}
    whole = finetune(digits_run.path, out=tmp_path / "whole", **how).run
    with interrupted(4):  # in the second epoch of the second phase
        finetune(digits_run.path, out=tmp_path / "stopped", **how)
    stopped = resume(tmp_path / "stopped", quiet=True).run
    assert (stopped.path / "history.csv").read_text() == (whole.path / "history.csv").read_text()
    for one, other in zip(whole.load_model().get_weights(), stopped.load_model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_second_phase_of_few_images_begins_slowly():
    recipe = load_recipe("last-stage", kind="finetune")
    few, many = (second_phase(recipe, recipe.finetune, images, varies=False) for images in (165, 1_211))
    assert few.optimizer.learning_rate == many.optimizer.learning_rate == 1e-3
    assert few.schedule.warmup_epochs == 4  # 12 steps: 20 would be more than half of the phase
    assert many.schedule.warmup_epochs == pytest.approx(20 / 19)
    assert few.optimizer.ema == many.optimizer.ema == 0.9
    kept = second_phase(recipe, FineTune(learning_rate=1e-3), 165, varies=False)  # as runs of earlier versions have it
    assert (kept.optimizer.learning_rate, kept.schedule.warmup_epochs, kept.optimizer.ema) == (1e-3, 1, 0)


@pytest.mark.slow
def test_a_second_phase_that_ruins_the_model_leaves_what_the_head_had(digits, resnet, tmp_path):
    settings = ["finetune.stages=1", "finetune.epochs=1", "finetune.learning_rate=0.1", "batch_size=40"]
    before = resnet.get_layer("backbone").get_weights()
    tuning = FineTuning.of(recipe_of(*settings), digits, resnet)
    fitted = train_in_phases(tuning, Run.create(tmp_path / "run"), quiet=True)
    assert len(fitted.run.history) == 4
    assert fitted.best_epoch <= 3
    for one, other in zip(before, resnet.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_are_the_images_and_what_augmentation_makes_of_them(digits, resnet):
    below = chained(take_apart(resnet).scaling)
    augment = load_recipe("head", ["augment.rotation=20"], kind="finetune").augment
    frozen = Frozen(below, digits.train.images.dtype, augment)
    once, thrice = frozen(digits.train), frozen(digits.train, views=3)
    count = len(digits.train)
    np.testing.assert_array_equal(thrice.images[:count], once.images)
    np.testing.assert_array_equal(thrice.labels, np.tile(digits.train.labels, 3))
    assert np.abs(thrice.images[count : 2 * count] - once.images).max() > 0.1
    assert np.abs(thrice.images[count : 2 * count] - thrice.images[2 * count :]).max() > 0.1


def test_features_that_do_not_fit_into_memory_are_the_same_from_the_disk(digits, resnet, tmp_path, monkeypatch):
    parts = take_apart(resnet)
    below = chained(parts.scaling, parts.backbone)
    frozen = Frozen(below, digits.train.images.dtype)
    held = frozen(digits.train, file=tmp_path / "f.npy")
    monkeypatch.setattr("recipes.transfer.features.memory_limit", lambda: 1000)
    mapped = frozen(digits.train, file=tmp_path / "f.npy")
    assert isinstance(mapped.images, np.memmap)
    np.testing.assert_array_equal(held.images, mapped.images)


def test_the_default_follows_the_number_of_images():
    assert [choose(30, 3), choose(300, 3), choose(30_000, 3)] == ["head", "last-stage", "full-llrd"]
    for name in list_finetunings():
        assert load_recipe(name, kind="finetune").finetune is not None


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("efficientnet_lite", [], "did you mean 'efficientnet_lite[012]'"),
        ("lenet5", [], "lenet5 has no weights 'imagenet'; efficientnet_lite0,"),
        ("no/where", [], "no/where does not exist"),
        ("nothing.keras", [], r"nothing\.keras does not exist"),
        (__file__, [], "is not a run"),
        ("efficientnet_lite0", ["finetune.stage=1"], "did you mean 'finetune.stages'"),
        (
            "efficientnet_lite0",
            ["finetune.stages=1", "finetune.layers=4"],
            "recipe head: finetune: stages=1 and layers=4; allowed: one",
        ),
        pytest.param(
            "efficientnet_lite0",
            ["finetune.layers=90"],
            "finetune.layers=90 is not possible for this backbone; allowed: 0 to 48",
            marks=pytest.mark.slow,  # the network is built first
        ),
        ("efficientnet_lite0", ["augment.rotation=20"], "augment has no effect on features that are computed once"),
        ("efficientnet_lite0", ["augment.mixup.alpha=0.2"], "mixed images cannot be cached"),
        ("efficientnet_lite0", ["model.name=lenet5"], "model.name=lenet5 is not efficientnet_lite0"),
    ],
)
def test_what_is_not_possible_is_told_before_anything_is_written(tmp_path, source, settings, message):
    with pytest.raises(RequestError, match=message):
        finetune(source, data="digits", out=tmp_path / "run", recipe="head", overrides=settings)
    assert not (tmp_path / "run").exists()


def test_overrides_come_before_a_recipe_that_is_read_already(tmp_path):
    head = load_recipe("head", kind="finetune")
    with pytest.raises(RequestError, match=r"recipe with these settings: unknown setting 'finetune\.stage'"):
        finetune("efficientnet_lite0", data="digits", out=tmp_path / "run", recipe=head, overrides=["finetune.stage=1"])


def test_a_source_that_brings_code_is_refused(tmp_path):
    file = tmp_path / "lambda.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Lambda(lambda x: x)]).save(file)
    source = open_source(file)
    with pytest.raises(RequestError, match=r"lambda\.keras cannot be loaded"):
        build(source, source.model, classes=3)


def test_a_recipe_from_scratch_is_not_one_for_fine_tuning(digits_run, tmp_path):
    with pytest.raises(RequestError, match="it trains from scratch"):
        finetune(digits_run.path, data="digits", out=tmp_path / "run", recipe=load_recipe("quick"))
    with pytest.raises(RequestError, match="only a run has classes to keep"):
        finetune("efficientnet_lite0", data="digits", out=tmp_path / "run", keep_old_classes=True)


@pytest.mark.slow
def test_what_a_run_began_with_is_not_what_another_begins_with(digits_run, tmp_path):
    """The recipe.toml of a fine-tuned run names its weights; a source that has its own, and an argument, come first."""
    file = tmp_path / "recipe.toml"
    recipe = load_recipe("head", ["model.name=lenet5", "model.weights=/nowhere.weights.h5", *SHORT], kind="finetune")
    file.write_text(tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True)))
    own = str(digits_run.path)
    one = finetune(own, data="digits", out=tmp_path / "one", recipe=file, quiet=True)
    two = finetune("lenet5", weights=own, data="digits", out=tmp_path / "two", recipe=file, quiet=True)
    assert (one.run.recipe.model.weights, two.run.recipe.model.weights) == (None, own)
    assert one.metrics["accuracy"] == two.metrics["accuracy"] > 0.8


@pytest.mark.slow
def test_images_for_a_run_are_resized_and_split_as_its_own_were(tmp_path):
    """Else test images of the one would be training images of the other, and all would look different to it."""
    images = str(class_folders(tmp_path / "images", {"cat": 20, "dog": 20}))
    rules = ["data.resize=stretch", "data.split_seed=5", "data.skip_bad=true", "epochs=1"]
    first = fit("lenet5", data=images, out=tmp_path / "first", recipe="quick", overrides=rules, quiet=True).run
    more = {"data": images, "recipe": "head", "overrides": ["epochs=1"], "quiet": True}
    two = finetune(first.path, out=tmp_path / "two", **more).run
    assert two.recipe.data == first.recipe.data.model_copy(update={"skip_bad": False})
    assert two.split_table.read_text() == first.split_table.read_text()
    other = finetune(first.path, out=tmp_path / "other", resize="fit", **more).run
    assert (other.recipe.data.resize, other.recipe.data.split_seed) == ("fit", 5)
    found, stretched, filled = (
        embed(first.path, images, out=tmp_path / "features.npz", resize=rule, quiet=True).features
        for rule in (None, "stretch", "fill")
    )
    assert (found == stretched).all()
    assert (found != filled).any()


@pytest.mark.slow
def test_weights_go_with_a_name_only(digits_run, tmp_path):
    with pytest.raises(RequestError, match="has weights of its own"):
        finetune(digits_run.path, data="digits", out=tmp_path / "run", weights="imagenet")
    with pytest.raises(RequestError, match="does not fit the backbone"):
        finetune("efficientnet_lite0", data="digits", out=tmp_path / "run", weights=str(digits_run.path), quiet=True)
    assert not (tmp_path / "run").exists()
