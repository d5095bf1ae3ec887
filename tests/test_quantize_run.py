"""A run that goes on as its int8 file computes it, and what is exported of it."""

from pathlib import Path

import numpy as np
import pytest

from recipes.evaluate import evaluate
from recipes.export.handover import export
from recipes.finetune import finetune
from recipes.fit import fit, resume
from recipes.run.folder import Run
from recipes.tflite.file import TFLiteFile
from zoo.anatomy import dissect
from zoo.errors import RequestError
from zoo.ranges import is_quantized

WEIGHTED = ("CONV_2D", "FULLY_CONNECTED")


@pytest.fixture(scope="session")
def integers(once, digits_run):
    """`digits_run`, gone on for two epochs. Tests read it and do not change it."""
    given = {"recipe": "qat", "overrides": ["epochs=2"], "overwrite": True, "quiet": True}
    return Run.open(once("integers", lambda out: finetune(digits_run.path, out=out, **given)))


@pytest.fixture(scope="session")
def four_bits(once, digits_run):
    """`digits_run`, gone on for two epochs with weights of four bits. Tests read it and do not change it."""
    given = {"recipe": "qat", "overrides": ["epochs=2", "finetune.quantize=int4"], "overwrite": True, "quiet": True}
    return Run.open(once("four-bits", lambda out: finetune(digits_run.path, out=out, **given)))


def test_the_run_has_the_images_and_the_model_of_the_one_that_it_goes_on_from(digits_run, integers):
    assert integers.recipe.data == digits_run.recipe.data
    assert integers.recipe.model == digits_run.recipe.model
    # Of several processes, another may have made the run, from its own copy of the first one.
    assert Path(integers.recipe.finetune.source).parts[-2:] == digits_run.path.parts[-2:]
    model, before = integers.load_model(), digits_run.load_model()
    assert is_quantized(model)
    assert not is_quantized(before)
    assert dissect(model).macs == dissect(before).macs
    assert [layer.name for layer in before.get_layer("backbone").layers if layer.weights] == [
        layer.name for layer in model.get_layer("backbone").layers if layer.name in ("C1", "C3")
    ]
    assert integers.metrics["accuracy"] > digits_run.metrics["accuracy"] - 0.01
    assert evaluate(integers)["accuracy"] == integers.metrics["accuracy"]


def test_the_file_is_that_network(integers, tmp_path):
    result = export(integers, to="int8", out=tmp_path / "file.tflite")
    assert result.agreement >= 0.999
    assert result.mean_difference < 1 / 256


def test_a_run_in_half_precision_goes_on_as_integers(tmp_path):
    given = {"data": "digits", "recipe": "quick", "quiet": True}
    half = fit("lenet5", out=tmp_path / "half", overrides=["epochs=1", "precision=mixed_bfloat16"], **given).run
    run = finetune(half.path, recipe="qat", overrides=["epochs=1"], out=tmp_path / "integers", quiet=True).run
    assert run.recipe.precision == "float32"
    assert run.metrics["accuracy"] > half.metrics["accuracy"] - 0.02
    assert export(run, to="int8", out=tmp_path / "file.tflite").agreement >= 0.99


def test_only_integers_are_made_of_it(integers, tmp_path):
    with pytest.raises(RequestError, match="was trained as its int8 file computes it; allowed: --to int8 or c-array"):
        export(integers, to="float16", out=tmp_path / "file.tflite")
    assert not list(tmp_path.iterdir())


def test_with_four_bits_the_file_is_that_network_too(digits_run, four_bits, integers, tmp_path):
    assert four_bits.metrics["accuracy"] > digits_run.metrics["accuracy"] - 0.02
    assert evaluate(four_bits)["accuracy"] == four_bits.metrics["accuracy"]
    result = export(four_bits, to="int8", out=tmp_path / "four.tflite")
    file = TFLiteFile(tmp_path / "four.tflite")
    kernels = [file.graph.tensors[one.inputs[1]] for one in file.graph.operators if one.kind in WEIGHTED]
    assert {kernel.dtype for kernel in kernels} == {"int4"}
    assert result.agreement >= 0.999
    images = four_bits.load_data().test.images
    apart = np.abs(file.predict(images) - four_bits.load_model().predict(images * 1.0, verbose=0)).max(axis=1)
    assert (apart < 1.01 / 256).mean() >= 0.99
    assert result.bytes < 0.62 * export(integers, to="int8", out=tmp_path / "eight.tflite").bytes
    assert evaluate(tmp_path / "four.tflite", data="digits")["accuracy"] > digits_run.metrics["accuracy"] - 0.02


def test_of_four_bits_only_integers_are_made(four_bits, tmp_path):
    with pytest.raises(RequestError, match="int8 file computes it, whose weights have four bits; allowed: --to int8"):
        export(four_bits, to="dynamic", out=tmp_path / "file.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["integers", "four_bits"])
def test_stopped_it_ends_as_if_it_had_not_been(digits_run, name, request, tmp_path, interrupted):
    whole = request.getfixturevalue(name)
    overrides = ["epochs=2", f"finetune.quantize={whole.recipe.finetune.quantize}"]
    out = tmp_path / "stopped"
    with interrupted(2):  # in the second epoch
        finetune(digits_run.path, recipe="qat", overrides=overrides, out=out, quiet=True)
    run = resume(out, quiet=True).run
    pairs = zip(run.load_model().get_weights(), whole.load_model().get_weights(), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
    assert run.metrics == whole.metrics


@pytest.mark.parametrize(
    ("source", "given", "message"),
    [
        (
            "efficientnet_lite0",
            {"data": "digits"},
            "efficientnet_lite0 is not a run: with finetune.quantize a run goes on",
        ),
        (None, {"overrides": ["model.pooling=average"]}, "model.pooling cannot be set"),
        (None, {"overrides": ["precision=mixed_bfloat16"]}, "precision=mixed_bfloat16 is not possible here"),
        (None, {"skip_bad": True}, "skip_bad is not possible with finetune.quantize"),
    ],
)
def test_what_is_not_possible_is_told_before_anything_is_written(digits_run, tmp_path, source, given, message):
    with pytest.raises(RequestError, match=message):
        finetune(source or digits_run.path, recipe="qat", out=tmp_path / "run", **given)
    assert not list(tmp_path.iterdir())


def test_other_fine_tunings_need_images(digits_run, tmp_path):
    with pytest.raises(RequestError, match="--data is missing"):
        finetune(digits_run.path, recipe="head", out=tmp_path / "run")
