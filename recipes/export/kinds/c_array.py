"""A model as C++ source, for TensorFlow Lite Micro: the file's bytes, its labels, and what it needs."""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.export.kinds.base import QUANTISED_BUDGET, ExportKind, ExportOptions, RunResult
from recipes.export.kinds.tflite import convert, describe, quantised_advice
from zoo.errors import RequestError

if TYPE_CHECKING:
    from recipes.export.source import ExportSource
    from recipes.tflite.graph import Graph

# What TFLite Micro keeps beside the values, in bytes: our estimate of its structures on a 32-bit processor, rounded
# up. Kernels ask for scratch memory of their own on top, which only the board's library can tell.
_PER_TENSOR, _PER_OPERATOR, _PER_CHANNEL, _FIXED = 32, 160, 8, 1024
# Keywords of C and C++, what compilers define by themselves, and names of their standard libraries.
_RESERVED_WORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class
    compl concept const consteval constexpr constinit const_cast continue contract_assert co_await co_return
    co_yield decltype default delete do double dynamic_cast else enum explicit export extern false final float for
    friend goto if import inline int long module mutable namespace new noexcept not not_eq nullptr operator or or_eq
    override private protected public register reinterpret_cast requires restrict return short signed sizeof static
    static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename typeof
    typeof_unqual union unsigned using virtual void volatile wchar_t while xor xor_eq fortran i386 linux unix main
    std tflite errno assert abort abs acos asin atan atan2 atexit atof atoi atol bsearch calloc ceil clock close cos
    cosh ctime difftime div exit exp fabs fclose feof ferror fflush fgetc fgets floor fmod fopen fprintf fputc fputs
    fread free freopen frexp fscanf fseek ftell fwrite getc getchar getenv gets gmtime index isalnum isalpha iscntrl
    isdigit isgraph islower isprint ispunct isspace isupper isxdigit j0 j1 jn labs ldexp ldiv link localtime log
    log10 log2 longjmp malloc mblen memchr memcmp memcpy memmove memset mktime modf open pause perror pipe pow
    printf putc putchar puts qsort raise rand read realloc remove rename rewind rindex round scanf setbuf setjmp
    setvbuf signal sin sinh sleep sprintf sqrt srand sscanf strcat strchr strcmp strcoll strcpy strcspn strerror
    strftime strlen strncat strncmp strncpy strpbrk strrchr strspn strstr strtod strtok strtol strtoul strxfrm
    system tan tanh time tmpfile tmpnam tolower toupper trunc ungetc vfprintf vprintf vsprintf write y0 y1 yn gamma
    lgamma tgamma select random wait bind connect accept listen send recv socket
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())
_METHODS = {"PADV2": "PadV2", "SELECT_V2": "SelectV2", "SQUARED_DIFFERENCE": "SquaredDifference"}


class CArray(ExportKind):
    """An int8 model as `.h` and `.cc`, and the same bytes as `.tflite` for tools that want a file."""

    name = "c-array"
    summary = "`int8` as `.h` and `.cc` for TensorFlow Lite Micro, and the same bytes as `.tflite`"
    ending = ".cc"
    budget = QUANTISED_BUDGET
    runner = "LiteRT"
    symmetric_to = 0.0  # integers are added to the same sum in any order

    def write(self, source: "ExportSource", file: Path, options: ExportOptions) -> None:
        content = convert(source.float32_model, "int8", source.data.train, output_type=options.output_type)
        file.with_suffix(".tflite").write_bytes(content)
        write_c_array(content, file.with_suffix(""), source.class_names, describe(source, self.name))

    def check_place(self, out: Path) -> None:
        if wrong := re.search(r'["\\\\\x00-\x1f]', out.name):
            raise RequestError(f"{out.name!r} cannot be named in `#include`; not allowed in the name: {wrong[0]!r}.")
        super().check_place(out)

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

    name = c_name(stem.name)
    header = stem.with_name(f"{stem.name}.h")
    source = stem.with_name(f"{stem.name}.cc")
    header.write_text(_header(name, content, read_graph(content), labels, about), "utf-8")
    source.write_text(_source(name, content, labels, header.name), "utf-8")
    return header, source


def c_name(text: str) -> str:
    """A name in C and C++, also with `_size` and the like behind it, for any text; texts that are one stay as they are.

    >>> c_name("Digits-net"), c_name("class"), c_name("2nd try"), c_name("café")
    ('digits_net', 'class_model', 'model_2nd_try', 'caf')
    """
    name = re.sub(r"[^a-z0-9]+", "_", text.lower(), flags=re.ASCII).strip(
        "_"
    )  # `__` and a first `_` are the compiler's
    if not name or name[0].isdigit():
        name = f"model_{name}".rstrip("_")
    return f"{name}_model" if name in _RESERVED or name.endswith("_t") else name


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
    """A C string literal: UTF-8 as it is, control characters as three octal digits, and no trigraphs."""
    quoted = re.sub(r'["\\\\]', lambda match: f"\\{match[0]}", text)
    plain = re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\{ord(match[0]):03o}", quoted)
    return '"' + re.sub(r"\?(?=\?)", '?""', plain) + '"'


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip("\\")
