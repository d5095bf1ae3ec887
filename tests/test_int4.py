"""Files with weights of four bits, and C arrays with values of sixteen."""

import importlib.util

import pytest

from recipes.export.handover import export
from recipes.tflite import micro
from recipes.tflite.file import TFLiteFile
from zoo.errors import RequestError

needs_quantizer = pytest.mark.skipif(
    importlib.util.find_spec("litert_quantizer") is None,
    reason="needs litert-quantizer: pip install 'convzoo[int4]'",
)


@needs_quantizer
def test_weights_have_four_bits_and_the_file_is_verified(digits_run, int8_file, tmp_path):
    result = export(digits_run, to="int4", out=tmp_path / "digits.tflite")
    graph = TFLiteFile(tmp_path / "digits.tflite").graph
    assert {operator.kind for operator in graph.operators} >= {"CONV_2D", "FULLY_CONNECTED"}
    for operator in graph.operators:
        if operator.kind in ("CONV_2D", "FULLY_CONNECTED"):
            weights = graph.tensors[operator.inputs[1]]
            assert weights.dtype == "int4"
            assert len(weights.scales) == weights.shape[0]
    assert result.agreement >= 0.97
    assert result.bytes < 0.62 * int8_file.stat().st_size
    assert "it has no float values with int4 weights" in micro.obstacle(graph)


def test_without_the_quantizer_it_says_what_to_install(digits_run, monkeypatch, tmp_path):
    monkeypatch.setattr("recipes.support.extras.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"--to int4 needs litert_quantizer: pip install 'convzoo\[int4\]'"):
        export(digits_run, to="int4", out=tmp_path / "digits.tflite")


@pytest.mark.skipif(not micro.is_installed(), reason="needs tflite-micro: pip install 'convzoo[micro]'")
def test_a_c_array_may_have_values_of_sixteen_bits(digits_run, tmp_path):
    result = export(digits_run, to="c-array-int16x8", out=tmp_path / "digits.cc")
    graph = TFLiteFile(tmp_path / "digits.tflite").graph
    assert "int16" in {tensor.dtype for tensor in graph.tensors}
    assert result.board["measured"]
    assert result.agreement >= 0.99
    assert "Input: float32 [1, 32, 32, 1], pixels 0-255 as they are." in (tmp_path / "digits.h").read_text()
