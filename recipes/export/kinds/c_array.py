"""A model as C++ source, for TensorFlow Lite Micro: the file's bytes, its labels, and what it needs."""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.export.kinds.base import QUANTISED_BUDGET, ExportKind, ExportOptions, RunResult
from recipes.export.kinds.tflite import convert, describe, quantised_advice

if TYPE_CHECKING:
    from recipes.export.source import ExportSource
    from recipes.tflite.graph import Graph

# What TFLite Micro keeps beside the values, in bytes: our estimate of its structures on a 32-bit processor, rounded
# up. Kernels ask for scratch memory of their own on top, which only the board's library can tell.
_PER_TENSOR, _PER_OPERATOR, _PER_CHANNEL, _FIXED = 32, 160, 8, 1024
_METHODS = {"PADV2": "PadV2", "SELECT_V2": "SelectV2", "SQUARED_DIFFERENCE": "SquaredDifference"}


class CArray(ExportKind):
    """An int8 model as `.h` and `.cc`, and the same bytes as `.tflite` for tools that want a file."""

    name = "c-array"
    summary = "`int8` as `.h` and `.cc` for TensorFlow Lite Micro, and the same bytes as `.tflite`"
    ending = ".cc"
    budget = QUANTISED_BUDGET
    runner = "LiteRT"

    def write(self, source: "ExportSource", file: Path, options: ExportOptions) -> None:
        content = convert(source.float32_model, "int8", source.data.train, output_type=options.output_type)
        file.with_suffix(".tflite").write_bytes(content)
        write_c_array(content, file.with_suffix(""), source.class_names, describe(source, self.name))

    def run(self, source: "ExportSource", file: Path, options: ExportOptions) -> RunResult:
        from recipes.tflite.file import TFLiteFile

        opened = TFLiteFile(file.with_suffix(".tflite"))
        return RunResult(opened.predict(source.data.test.images), opened.operators)

    def advice(self, source: "ExportSource", file: Path) -> str:
        return quantised_advice(source, file.with_suffix(".tflite"), "int16x8")


def write_c_array(content: bytes, stem: Path, labels: Sequence[str], about: str) -> tuple[Path, Path]:
    """Writes `STEM.h` and `STEM.cc` and returns both.

    Args:
        content: the TFLite flatbuffer; the array is equal to it byte for byte.
        stem: the files' path without ending; its name, made an identifier, is what the arrays are called by.
        labels: class names, in the order of the scores.
        about: a line on what the model is.
    """
    from recipes.tflite.graph import read_graph

    name = re.sub(r"\W", "_", stem.name.lower())
    if name[:1].isdigit():
        name = f"model_{name}"
    header = stem.with_name(f"{stem.name}.h")
    source = stem.with_name(f"{stem.name}.cc")
    header.write_text(_header(name, content, read_graph(content), labels, about), "utf-8")
    source.write_text(_source(name, content, labels, header.name), "utf-8")
    return header, source


def arena_estimate(graph: "Graph") -> int:
    """Bytes to begin with for `tensor_arena`: values alive at the busiest moment, and TFLite Micro's own records."""
    channels = sum(len(tensor.scales) for tensor in graph.tensors if len(tensor.scales) > 1)
    records = _PER_TENSOR * len(graph.tensors) + _PER_OPERATOR * len(graph.operators) + _PER_CHANNEL * channels
    return -(-(graph.arena + records + _FIXED) // 1024) * 1024


def resolver_calls(graph: "Graph") -> list[str]:
    """The methods of `tflite::MicroMutableOpResolver` that the graph needs, `AddConv2D` and so on."""
    return [f"Add{_METHODS.get(kind) or kind.title().replace('_', '')}" for kind in graph.counts]


def _header(name: str, content: bytes, graph: "Graph", labels: Sequence[str], about: str) -> str:
    given = graph.tensors[graph.inputs[0]]
    made = graph.tensors[graph.outputs[0]]
    calls = resolver_calls(graph)
    scaled = f", real value = (value - {made.zero_points[0]}) * {made.scales[0]!r}" if made.scales else ""
    return f"""// {_one_line(about)}
// Input: {given.dtype} {list(given.shape)}, pixels 0-255 as they are. Output: {made.dtype} {list(made.shape)}{scaled}.
// sha256 of the model: {sha256(content).hexdigest()}
//
//   static tflite::MicroMutableOpResolver<{name}_operators> resolver;
{chr(10).join(f"//   resolver.{call}();" for call in calls)}
#ifndef {name.upper()}_H_
#define {name.upper()}_H_

constexpr unsigned int {name}_size = {len(content)};
constexpr unsigned int {name}_classes = {len(labels)};
constexpr unsigned int {name}_operators = {len(calls)};
// An estimate: values alive at once ({graph.arena} bytes) and the interpreter's records. Kernels may want scratch
// memory on top; after AllocateTensors(), interpreter.arena_used_bytes() tells what it really is.
constexpr unsigned int {name}_arena_estimate = {arena_estimate(graph)};

extern const unsigned char {name}[{name}_size];
extern const char* const {name}_labels[{name}_classes];

#endif  // {name.upper()}_H_
"""


def _source(name: str, content: bytes, labels: Sequence[str], header: str) -> str:
    rows = [", ".join(f"0x{byte:02x}" for byte in content[i : i + 16]) for i in range(0, len(content), 16)]
    lines = ",\n    ".join(rows)
    names = ",\n    ".join(_literal(label) for label in labels)
    return f"""#include "{header}"

alignas(16) const unsigned char {name}[{name}_size] = {{
    {lines}}};

const char* const {name}_labels[{name}_classes] = {{
    {names}}};
"""


def _literal(text: str) -> str:
    """A C string literal: JSON's quoting, UTF-8 as it is, and no trigraphs."""
    return json.dumps(text, ensure_ascii=False).replace("??", '?""?')


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip("\\")
