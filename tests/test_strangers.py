"""TFLite files of unknown origin: what no converter writes is refused; what crashes takes down a child only."""

import contextlib
import json
import struct
import time

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from recipes.tflite import TFLiteFile, inspect, isolated, metadata
from recipes.tflite.flatbuffer import DamageError, read
from zoo.errors import RequestError

SCALES = (0.5, 0.25, 0.125, 0.5)


def tensor(name, shape, kind=schema.TensorType.INT8, buffer=0, scales=(0.5,)):
    made = schema.TensorT()
    made.name, made.shape, made.type, made.buffer = name, list(shape), kind, buffer
    if scales:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = list(scales), [0] * len(scales)
    return made


def operator(code, inputs, outputs, options=None, kind=0):
    made = schema.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    made.builtinOptions, made.builtinOptionsType = options, kind
    return made


def small_model():
    """Quantised: a convolution, a mean over the map, and a softmax."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs = 3, [graph]
    contents = [b"", np.arange(-54, 54, dtype=np.int8).tobytes(), bytes(16), struct.pack("<2i", 1, 2)]
    model.buffers = [schema.BufferT() for _ in contents]
    for buffer, content in zip(model.buffers, contents, strict=True):
        buffer.data = np.frombuffer(content, np.uint8) if content else None
    kinds = schema.BuiltinOperator
    model.operatorCodes = [schema.OperatorCodeT() for _ in range(3)]
    for code, number in zip(model.operatorCodes, (kinds.CONV_2D, kinds.MEAN, kinds.SOFTMAX), strict=True):
        code.builtinCode = code.deprecatedBuiltinCode = number
        code.version = 2 if number != kinds.CONV_2D else 3
    graph.tensors = [
        tensor("image", (1, 8, 8, 3)),
        tensor("weights", (4, 3, 3, 3), buffer=1, scales=SCALES),
        tensor("bias", (4,), schema.TensorType.INT32, 2, [0.5 * scale for scale in SCALES]),
        tensor("map", (1, 4, 4, 4), scales=(2.0,)),
        tensor("axes", (2,), schema.TensorType.INT32, 3, ()),
        tensor("mean", (1, 4), scales=(2.0,)),
        tensor("scores", (1, 4), scales=(1 / 256,)),
    ]
    graph.tensors[6].quantization.zeroPoint = [-128]
    graph.inputs, graph.outputs = [0], [6]
    convolution = schema.Conv2DOptionsT()
    convolution.strideW = convolution.strideH = 2
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    options = schema.BuiltinOptions
    graph.operators = [
        operator(0, [0, 1, 2], [3], convolution, options.Conv2DOptions),
        operator(1, [3, 4], [5], schema.ReducerOptionsT(), options.ReducerOptions),
        operator(2, [5], [6], softmax, options.SoftmaxOptions),
    ]
    return model


def written(model, path):
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def change(path, value):
    """A change to a model: `change("tensors.3.type", 7)` of its graph, or of the model itself after `/`."""

    def make(model):
        owner = model if path.startswith("/") else model.subgraphs[0]
        *way, last = path.lstrip("/").split(".")
        for step in way:
            owner = owner[int(step)] if step.isdigit() else getattr(owner, step)
        setattr(owner, last, value)

    return make


def test_a_good_file_runs_alike_here_and_in_a_child(tmp_path):
    path = written(small_model(), tmp_path / "good.tflite")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
    here, apart = TFLiteFile(path), TFLiteFile(path, isolated=True)
    np.testing.assert_array_equal(apart.predict(images), here.predict(images))
    np.testing.assert_array_equal(apart.predict(images[:1]), here.predict(images[:1]))
    assert inspect(path).macs == 4 * 4 * 4 * 27 == here.settled.macs


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tensors.3.quantization.scale", [-3e9], "scale"),
        ("tensors.3.quantization.scale", [0.0], "scale"),
        ("tensors.3.quantization.scale", [float("nan")], "scale nan"),
        ("tensors.3.quantization.zeroPoint", [200], "zero point"),
        ("tensors.1.quantization.scale", [0.5, 0.5], "2 scales"),
        ("tensors.3.quantization", None, "0 scales"),
        ("tensors.3.type", schema.TensorType.FLOAT32, "mixes float32, int8"),
        ("tensors.1.type", schema.TensorType.UINT8, "operand of uint8"),
        ("tensors.2.type", schema.TensorType.FLOAT32, "operand of float32"),
        ("tensors.1.buffer", 2, "has 16 bytes, not 108"),
        ("tensors.3.buffer", 1, "bytes"),
        ("tensors.3.buffer", 99, "buffer 99 does not exist"),
        ("tensors.1.shape", [4, 3, 1, 9], r"weights \[4, 3, 1, 9\]"),
        ("tensors.3.shape", [1, -4, -4, 4], "shape"),
        ("tensors.3.shape", [1] * 20, "shape"),
        ("operators.0.inputs", [0, 1], "2 inputs; allowed: 3"),
        ("operators.0.inputs", [], "0 inputs"),
        ("operators.0.inputs", [-1, 1, 2], "lacks one of its inputs"),
        ("operators.0.inputs", [0, 1, 77], "tensor that it does not have"),
        ("operators.0.outputs", [], "does not say what it makes"),
        ("operators.0.outputs", [1], "writes over"),
        ("operators.0.inputs", [5, 1, 2], "nothing before it makes"),
        ("operators.0.opcodeIndex", 9, "operation 9 does not exist"),
        ("operators.0.builtinOptions.strideW", 0, "stride w 0"),
        ("operators.0.builtinOptions.dilationHFactor", -1, "dilation h -1"),
        ("inputs", [9999], "tensor that it does not have"),
        ("outputs", [1], "scores"),
        ("/operatorCodes.0.builtinCode", 9999, "operation 9999"),
        ("/subgraphs", [], "no graph"),
    ],
)
def test_what_no_converter_writes_is_refused_before_it_is_run(tmp_path, path, value, message):
    model = small_model()
    change(path, value)(model)
    file = written(model, tmp_path / "strange.tflite")
    with pytest.raises(RequestError, match=message) as caught:
        TFLiteFile(file)
    assert "strange.tflite" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_length_is_not_believed():
    schema_of = {"Root": {"numbers": "[f4]", "parts": ["Root"], "name": "text"}}
    content = bytearray(metadata.encode({"name": "x", "author": "me"}))
    for place in range(len(content) - 4):
        content[place : place + 4], kept = b"\xf0\xff\xff\x7f", content[place : place + 4]
        began = time.perf_counter()
        for tables in (schema_of, metadata._SCHEMA):
            with contextlib.suppress(DamageError):
                read(bytes(content), tables, next(iter(tables)))
        assert time.perf_counter() - began < 2
        content[place : place + 4] = kept


def test_parts_that_refer_to_each_other_do_not_multiply():
    """Eight levels of a hundred references each to one and the same table: 10¹⁶ of them in four kilobytes."""
    levels, wide, schema_of = 8, 100, {"Root": {"parts": ["Root"]}}
    content = struct.pack("<I3H2x", 12, 6, 8, 4)  # where the root is, and what all tables look like
    for level in range(levels + 1):
        here, count = len(content), wide if level < levels else 0
        content += struct.pack("<iII", here - 4, 4, count)
        ends = len(content) + 4 * count
        content += b"".join(struct.pack("<I", ends - (len(content) + 4 * i)) for i in range(count))
    with pytest.raises(DamageError, match="again and again"):
        read(content, schema_of, "Root")
    assert read(content[:12] + struct.pack("<iII", 8, 4, 0), schema_of, "Root") == {"parts": []}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"resize": "\x1b[2J"}, r"resized by '\\x1b\[2J'"),
        ({"resize": ["fill"]}, "resized by"),
        ({"image_shape": [20_000, 20_000, 3]}, "20000"),
        ({"image_shape": [-5, 8, 3]}, "-5"),
        ({"image_shape": [8, 8]}, "sides"),
        ({"image_shape": [8, 8, 4]}, "says that it takes"),
        ({"image_shape": [16_000, 16_000, 3]}, "bytes of memory"),
    ],
)
def test_what_is_attached_is_not_believed(tmp_path, facts, message):
    model = small_model()
    for place, shape in ((0, [1, -1, -1, 3]), (3, [1, -1, -1, 4])):
        model.subgraphs[0].tensors[place].shapeSignature = shape
    path = written(model, tmp_path / "open.tflite")
    path.write_bytes(metadata.append_files(path.read_bytes(), {"convzoo.json": json.dumps(facts)}))
    with pytest.raises(RequestError, match=message):
        TFLiteFile(path)


def test_a_crash_of_the_child_is_one_line(tmp_path, monkeypatch):
    path = written(small_model(), tmp_path / "bad.tflite")
    image = np.zeros((1, 8, 8, 3), np.uint8)
    child = tmp_path / "child.py"
    for body, message in (
        ("import os; os.abort()", r"bad\.tflite cannot be run: LiteRT crashes \(SIGABRT\)"),
        ("import sys; sys.exit(3)", "exit code 3"),
    ):
        child.write_text(f"def serve():\n    {body}\n")
        monkeypatch.setattr(isolated.child, "__file__", str(child))
        with pytest.raises(RequestError, match=message):
            TFLiteFile(path, isolated=True).predict(image)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return np.ones(2**34, np.uint8).tobytes()", "it takes more memory than it may"),
        ("while True: pass", r"it takes more than \d seconds for an image"),
    ],
)
def test_a_child_has_no_more_memory_and_time_than_it_may(tmp_path, monkeypatch, body, message):
    path, child = written(small_model(), tmp_path / "greedy.tflite"), tmp_path / "child.py"
    step = f"def run(self, values, shape):\n    {body}\nLiteRT.run = run\n"
    child.write_text(f"exec(open({isolated.child.__file__!r}).read())\n{step}")
    monkeypatch.setattr(isolated.child, "__file__", str(child))
    monkeypatch.setattr(isolated, "SECONDS", 0.5)
    with pytest.raises(RequestError, match=rf"greedy\.tflite cannot be run: {message}"):
        TFLiteFile(path, isolated=True).predict(np.zeros((1, 8, 8, 3), np.uint8))


@pytest.mark.slow
def test_mutated_files_are_refused_or_run(tmp_path, fuzz):
    seed = written(small_model(), tmp_path / "seed.tflite")
    fuzz.READERS["tflite"].read(seed)
    counts = fuzz.attack(fuzz.READERS["tflite"], [seed], inputs=60, seed=1)
    assert counts.outcomes["refused"] > 10
    assert counts.bad == 0, counts
