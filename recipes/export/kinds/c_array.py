"""A model as C++ source, for TensorFlow Lite Micro: the file's bytes, its labels, and what it needs."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.export.kinds.base import QUANTISED_BUDGET, ExportKind, ExportOptions, RunResult
from recipes.export.kinds.tflite import convert, describe, quantised_advice
from zoo.errors import FailureError, RequestError

if TYPE_CHECKING:
    from recipes.export.source import ExportSource
    from recipes.tflite.graph import Graph
    from recipes.tflite.micro import Arena

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


@dataclass(frozen=True)
class Board:
    """What was found of a model for microcontrollers.

    Attributes:
        arena_bytes: for `tensor_arena`; measured in TensorFlow Lite Micro, or estimated.
        measured: which of the two. An estimate has only `arena_bytes` and `values_bytes`.
        values_bytes, records_bytes: of the arena, see `recipes.tflite.micro.Arena`.
        images: test images that were run in TensorFlow Lite Micro.
        equal: those whose scores are LiteRT's to the last bit.
        equal_reference: those of the others whose scores are those of LiteRT's reference kernels to the last bit.
        max_difference: from LiteRT's scores, of any.
        step: between neighbouring scores of the file.
    """

    arena_bytes: int
    measured: bool
    values_bytes: int
    records_bytes: int = 0
    images: int = 0
    equal: int = 0
    equal_reference: int = 0
    max_difference: float = 0.0
    step: float = 0.0


class CArray(ExportKind):
    """A model of integers as `.h` and `.cc`, and the same bytes as `.tflite` for tools that want a file."""

    ending = ".cc"
    budget = QUANTISED_BUDGET
    runner = "LiteRT, and TensorFlow Lite Micro where it is installed"
    symmetric_to = 0.0  # integers are added to the same sum in any order

    def __init__(self, precision: str = "int8") -> None:
        """
        Args:
            precision: `int8` or `int16x8`, as `recipes.export.kinds.tflite.convert` has it.
        """
        self.precision = precision
        self.name = "c-array" if precision == "int8" else f"c-array-{precision}"
        self.summary = f"`{precision}` as `.h` and `.cc` for TensorFlow Lite Micro, and the same bytes as `.tflite`"
        self.integers = precision == "int8"

    def write(self, source: "ExportSource", file: Path, options: ExportOptions) -> None:
        content = source.integers or convert(
            source.float32_model, self.precision, source.data.train, output_type=options.output_type
        )
        model = file.with_suffix(".tflite")
        model.write_bytes(content)
        _check_operations(content, model.name)
        about = f"{describe(source, self.name)} Images of another size: `{source.resize}`."
        threshold = source.answers.get("threshold")
        write_c_array(content, file.with_suffix(""), source.class_names, about, self._arena(model), threshold)

    def check_place(self, out: Path) -> None:
        if wrong := re.search(r'["\\\\\x00-\x1f]', out.name):
            raise RequestError(f"{out.name!r} cannot be named in `#include`; not allowed in the name: {wrong[0]!r}.")
        super().check_place(out)

    def run(self, source: "ExportSource", file: Path, options: ExportOptions) -> RunResult:
        from recipes.tflite.file import TFLiteFile
        from recipes.tflite.memory import plan_memory

        model = file.with_suffix(".tflite")
        opened = TFLiteFile(model)
        images = source.data.test.images[:]
        scores = opened.predict(images)
        arena = self._arena(model)
        if arena is None:
            board = Board(arena_estimate(opened.graph), False, plan_memory(opened.graph).bytes)
            return RunResult(scores, opened.operators, asdict(board))
        ours = opened.as_scores(opened.in_micro(model.name).run(opened.as_input(images)))
        equal = (ours == scores).all(axis=1)
        reference = TFLiteFile(model, reference=True).predict(images[~equal]) if not equal.all() else ours[:0]
        board = Board(
            arena_bytes=arena.total,
            measured=True,
            values_bytes=arena.values,
            records_bytes=arena.records,
            images=len(images),
            equal=int(equal.sum()),
            equal_reference=int((ours[~equal] == reference).all(axis=1).sum()),
            max_difference=float(abs(ours - scores).max()),
            step=opened.score_step,
        )
        return RunResult(ours, opened.operators, asdict(board))

    def size(self, file: Path) -> int:
        return super().size(file.with_suffix(".tflite"))

    def _arena(self, model: Path) -> "Arena | None":
        """What TensorFlow Lite Micro uses to run a file, None where it is not installed.

        Raises:
            FailureError: it cannot run the file.
        """
        from recipes.tflite.micro import is_installed

        try:
            return _measured(model.read_bytes(), model.name) if is_installed() else None
        except RequestError as error:
            raise FailureError(str(error)) from error

    def advice(self, source: "ExportSource", file: Path) -> str:
        instead = "c-array-int16x8" if self.integers else "float16"
        return quantised_advice(source, file.with_suffix(".tflite"), instead)


def _check_operations(content: bytes, name: str) -> None:
    """Raises a `FailureError` that names the operations which TensorFlow Lite Micro does not have."""
    from recipes.tflite.graph import read_graph
    from recipes.tflite.micro import CALLED, lacking_operations

    graph = read_graph(content)
    if lacking := lacking_operations(graph):
        layers = dict.fromkeys(operator.layer for operator in graph.operators if operator.kind in lacking)
        raise FailureError(f"{CALLED} cannot run {name}: it has no {', '.join(lacking)} (in {', '.join(layers)}).")


@lru_cache(maxsize=1)  # a file is written, run, and run again where it has a symmetry
def _measured(content: bytes, name: str) -> "Arena":
    """What TensorFlow Lite Micro uses to run a model; raises a `RequestError` where it cannot."""
    from recipes.tflite.graph import read_graph
    from recipes.tflite.micro import MicroFile

    return MicroFile(Path(name), content, read_graph(content)).arena()


def write_c_array(
    content: bytes,
    stem: Path,
    labels: Sequence[str],
    about: str,
    arena: "Arena | None" = None,
    threshold: float | None = None,
) -> tuple[Path, Path]:
    """Writes `STEM.h` and `STEM.cc` and returns both.

    Args:
        content: the TFLite flatbuffer; the array is equal to it byte for byte.
        stem: the files' path without ending; its name, made an identifier, is what the arrays are called by.
        labels: class names, in the order of the scores.
        about: a line on what the model is.
        arena: as it was measured; estimated if None.
        threshold: the score below which a prediction is not sure.
    """
    from recipes.tflite.graph import read_graph

    name = c_name(stem.name)
    header = stem.with_name(f"{stem.name}.h")
    source = stem.with_name(f"{stem.name}.cc")
    header.write_text(_header(name, content, read_graph(content), labels, about, arena, threshold), "utf-8")
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
    """Bytes to begin with for `tensor_arena`: values as TFLite Micro plans them, and its own records."""
    from recipes.tflite.memory import plan_memory, records_estimate

    return -(-(plan_memory(graph).bytes + records_estimate(graph)) // 16) * 16


def _header(
    name: str,
    content: bytes,
    graph: "Graph",
    labels: Sequence[str],
    about: str,
    arena: "Arena | None",
    threshold: float | None = None,
) -> str:
    from recipes.tflite.micro import resolver_calls

    given = graph.tensors[graph.inputs[0]]
    made = graph.tensors[graph.outputs[0]]
    calls = resolver_calls(graph)
    scaled = f", real value = (value - {made.zero_points[0]}) * {made.scales[0]!r}" if made.scales else ""
    adds = [f"(resolver).{call}()" for call in calls]
    return f"""// {_one_line(about)}
// Input: {given.dtype} {list(given.shape)}, pixels 0-255 as they are. Output: {made.dtype} {list(made.shape)}{scaled}.
// sha256 of the model: {sha256(content).hexdigest()}
#ifndef {name.upper()}_H_
#define {name.upper()}_H_

constexpr unsigned int {name}_size = {len(content)};
constexpr unsigned int {name}_classes = {len(labels)};
{_threshold_lines(name, threshold)}{_arena_lines(name, graph, arena)}

extern const unsigned char {name}[{name}_size];
extern const char* const {name}_labels[{name}_classes];

// The operations that the model needs:
//   static tflite::MicroMutableOpResolver<{name}_operators> resolver;
//   {name.upper()}_ADD_OPERATORS(resolver);
constexpr unsigned int {name}_operators = {len(calls)};
#define {name.upper()}_ADD_OPERATORS(resolver) \\
  do {{ \\
    {f"; {chr(92) + chr(10)}    ".join(adds)}; \\
  }} while (0)

#endif  // {name.upper()}_H_
"""


def _threshold_lines(name: str, threshold: float | None) -> str:
    if threshold is None:
        return ""
    return f"""// The best score, as a real value, from which on a prediction is sure; below it, say that it is not.
constexpr float {name}_threshold = {threshold:.9f}f;
"""


def _arena_lines(name: str, graph: "Graph", arena: "Arena | None") -> str:
    """Bytes for `tensor_arena`, and where the number comes from."""
    if arena is None:
        return f"""// An estimate, nothing was run: what TensorFlow Lite Micro plans for values, and its records. After
// AllocateTensors(), interpreter.arena_used_bytes() tells what it really is.
constexpr unsigned int {name}_arena_estimate = {arena_estimate(graph)};
constexpr unsigned int {name}_arena_bytes = {name}_arena_estimate;"""
    parts = f"{arena.values} bytes of values, {arena.records} of records"
    return f"""// Measured in TensorFlow Lite Micro with reference kernels on a 64-bit processor: {parts}.
// On one of 32 bits records are smaller. Kernels made for one processor may want scratch memory on top; after
// AllocateTensors(), interpreter.arena_used_bytes() tells.
constexpr unsigned int {name}_arena_bytes = {arena.total};"""


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
    return '"' + re.sub(r"(?<=\?)\?", r"\\?", plain) + '"'


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip("\\")
