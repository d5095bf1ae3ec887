"""Models for microcontrollers, in TensorFlow Lite Micro itself where it is installed, and in compilers."""

import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from recipes import text
from recipes.config.presets import load_recipe
from recipes.data import Split
from recipes.export.handover import export
from recipes.export.kinds import c_array
from recipes.export.kinds.c_array import arena_estimate, write_c_array
from recipes.export.kinds.tflite import convert
from recipes.export.parity import Exported
from recipes.tflite import TFLiteFile, micro
from recipes.tflite.graph import read_graph
from recipes.tflite.memory import plan_memory
from zoo.backend import keras
from zoo.errors import FailureError, RequestError
from zoo.memory import Buffer, peak, plan

needs_micro = pytest.mark.skipif(not micro.is_installed(), reason="needs tflite-micro: pip install 'convzoo[micro]'")
NAMES = ["digits", "2nd try", "class", "--x--", "Größe", "a.b", "int", "M" * 90, "linux", "__init__"]
LABELS = ['a "quoted" one', "back\\slash\\", "??=", "???=", "猫", "%s", "*/ // /*", "\x01\n\t", "", '"); }', "x" * 300]


@pytest.mark.slow
@needs_micro
def test_a_c_array_is_run_on_all_test_images_in_micro(board, digits_run):
    folder, result = board
    found, file = result["board"], TFLiteFile(folder / "digits.tflite")
    images = digits_run.load_data().test.images
    assert found["measured"]
    assert found["images"] == len(images) == result["images"]
    some = images[::20]
    ours = file.in_micro().run(some)
    assert ours.dtype == np.uint8
    near = np.abs(file.as_scores(ours) - file.predict(some))
    assert near.max() <= found["max_difference"] + 1e-6
    if found["equal"] == found["images"]:
        assert not near.any()


@needs_micro
def test_the_arena_is_the_least_that_the_model_runs_in(board, capfd):
    from tflite_micro import runtime

    folder, result = board
    content, arena = (folder / "digits.tflite").read_bytes(), result["board"]["arena_bytes"]
    assert arena == result["board"]["values_bytes"] + result["board"]["records_bytes"]
    runtime.Interpreter.from_bytes(content, arena_size=arena)
    with pytest.raises(RuntimeError):
        runtime.Interpreter.from_bytes(content, arena_size=arena - 16)
    capfd.readouterr()  # what it says of that
    assert f"_arena_bytes = {arena};" in (folder / "digits.h").read_text()


@needs_micro
def test_the_plan_is_the_one_that_micro_makes(board):
    folder, result = board
    graph = TFLiteFile(folder / "digits.tflite").graph
    assert plan_memory(graph).bytes == result["board"]["values_bytes"]
    assert result["board"]["arena_bytes"] <= arena_estimate(graph) <= 1.3 * result["board"]["arena_bytes"]


def test_the_size_is_the_models(board):
    folder, result = board
    assert result["bytes"] == (folder / "digits.tflite").stat().st_size < (folder / "digits.cc").stat().st_size
    assert f"{result['bytes']:,} bytes of flash" in text.exported(Exported(**as_exported(result)))


def as_exported(result, **board):
    kept = {key: value for key, value in result.items() if key in Exported.__dataclass_fields__}
    return kept | {"board": result["board"] | board}


def test_what_was_measured_is_told(board):
    _, result = board
    known = {"measured": True, "values_bytes": 9408, "records_bytes": 5200, "arena_bytes": 14608, "images": 1000}
    same = as_exported(result, **known, equal=1000, equal_reference=0, max_difference=0.0, step=1 / 256)
    assert "14,608 bytes, measured: 9,408 of values, 5,200 of records" in text.exported(Exported(**same))
    assert "equal to LiteRT's to the last bit for 1,000 of 1,000 images\n" in text.exported(Exported(**same))
    other = as_exported(result, **known, equal=990, equal_reference=10, max_difference=1 / 128, step=1 / 256)
    assert "at most 0.0078 apart (2 steps of 0.0039), all of them equal" in text.exported(Exported(**other))


def test_without_micro_the_arena_is_an_estimate_and_called_so(board, monkeypatch, tmp_path):
    folder, result = board
    content = (folder / "digits.tflite").read_bytes()
    header, _ = write_c_array(content, tmp_path / "digits", ["a", "b"], "a net")
    assert "An estimate, nothing was run" in header.read_text()
    assert "digits_arena_bytes = digits_arena_estimate;" in header.read_text()
    kind = c_array.CArray()
    monkeypatch.setattr(micro, "is_installed", lambda: False)
    assert kind._arena(folder / "digits.tflite") is None
    told = text.exported(Exported(**as_exported(result, measured=False)))
    assert "an estimate" in told
    assert "pip install 'convzoo[micro]'" in told


def test_operations_that_micro_lacks_are_named(digits_run, monkeypatch, tmp_path):
    monkeypatch.setattr(micro, "OPERATIONS", micro.OPERATIONS - {"TANH", "SOFTMAX"})
    with pytest.raises(FailureError, match=r"cannot run net\.tflite: it has no SOFTMAX, TANH \(in backbone/"):
        export(digits_run, to="c-array", out=tmp_path / "net.cc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("recipe", "most"), [("2k", 2_000), ("5k", 5_000), ("10k", 10_000), ("30k", 30_000)])
def test_recipes_for_boards_keep_to_their_parameters(recipe, most):
    model = load_recipe(f"digits-{recipe}").model
    with keras.StatelessScope(initialize_variables=False):
        assert 0.8 * most < zoo.create_model(model.name, **model.options).count_params() <= most


@needs_micro
@pytest.mark.parametrize("symmetry", ["none", "c4"])
def test_a_pebble_is_what_boards_are_fast_at_and_its_arena_is_small(symmetry):
    random = np.random.default_rng(0)
    train = Split(random.integers(0, 256, (8, 28, 28, 1), np.uint8), np.arange(8) % 2)
    content = convert(zoo.create_model("pebble", symmetry=symmetry), "int8", train)
    graph = read_graph(content)
    fast = {"QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}
    if symmetry == "none":
        assert set(graph.counts) == fast
        assert graph.counts["DEPTHWISE_CONV_2D"] == 4
    opened = micro.MicroFile(Path("pebble.tflite"), content, graph)
    assert opened.arena().total < (20_000 if symmetry == "none" else 60_000)
    turns = np.stack([np.rot90(train.images[0], turns) for turns in range(4)])
    scores = opened.run(turns)
    assert symmetry == "none" or (scores == scores[0]).all()


@needs_micro
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SOFTMAX", "POW", "it has no POW"),
        ("MEAN", "EXP", "EXP"),
        ("CONV_2D", "LOCAL_RESPONSE_NORMALIZATION", "it has no"),
    ],
)
def test_what_micro_refuses_is_one_line(tmp_path, old, new, message):
    from ai_edge_litert import schema_py_generated as schema
    from test_strangers import small_model, written

    from recipes.tflite.graph import read_graph

    model = small_model()
    for code in model.operatorCodes:
        if code.builtinCode == getattr(schema.BuiltinOperator, old):
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, new)
    content = written(model, tmp_path / "odd.tflite").read_bytes()
    with pytest.raises(RequestError, match=rf"odd\.tflite .*TensorFlow Lite Micro .*{message}") as error:
        micro.MicroFile(Path("odd.tflite"), content, read_graph(content)).arena()
    assert "\n" not in str(error.value)


@needs_micro
def test_a_crash_of_micro_is_one_line(board, monkeypatch, tmp_path):
    from recipes.tflite import isolated

    child = tmp_path / "child.py"
    child.write_text("def serve():\n    import os; os.abort()\n")
    monkeypatch.setattr(isolated.child, "__file__", str(child))
    with pytest.raises(RequestError, match=r"TensorFlow Lite Micro crashes \(SIGABRT\)"):
        TFLiteFile(board[0] / "digits.tflite").in_micro().arena()


def test_an_exported_file_is_no_source(int8_file):
    with pytest.raises(RequestError, match=r"is an exported file; allowed: the run or the \.keras file"):
        export(int8_file, to="c-array")


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("standard", ["c++11", "c++17"])
def test_header_and_source_compile_whatever_they_are_called(compiler, standard, int8_file, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    content, graph = int8_file.read_bytes()[:64], TFLiteFile(int8_file).graph
    for number, name in enumerate(NAMES):
        folder, called = tmp_path / str(number), c_array.c_name(name)
        folder.mkdir()
        header = c_array._header(called, content, graph, LABELS, "a net \\", None, 0.5)
        (folder / f"{name}.h").write_text(header, "utf-8")
        (folder / f"{name}.cc").write_text(c_array._source(called, content, LABELS, f"{name}.h"), "utf-8")
        methods = " ".join(f"int {call}() {{ return ++count; }}" for call in micro.resolver_calls(graph))
        (folder / "main.cc").write_text(
            f'#include "{name}.h"\n#include "{name}.h"\n'
            f"struct Resolver {{ int count; {methods} }};\n"
            f"int main() {{ Resolver resolver = {{0}}; {called.upper()}_ADD_OPERATORS(resolver);\n"
            f"  return resolver.count == int({called}_operators) && {called}[0] == {content[0]} && "
            f"{called}_labels[0][0] == 'a' && {called}_threshold == 0.5f && {called}_arena_bytes > 0 ? 0 : 1; }}\n"
        )
        flags = [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O0"]
        command = [compiler, *flags, "main.cc", f"./{name}.cc", "-o", "program"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (name, done.stderr[:800])
        assert subprocess.run([folder / "program"], check=False).returncode == 0


def buffer(size, first, length):
    return Buffer(size, first, first + length)


buffers = st.builds(buffer, st.integers(1, 99), st.integers(0, 9), st.integers(0, 4))


@given(st.lists(buffers, max_size=12))
def test_what_is_there_at_the_same_time_does_not_overlap(given):
    places = plan(given)
    for (one, at), (other, there) in itertools.combinations(zip(given, places, strict=True), 2):
        apart = one.last < other.first or other.last < one.first
        assert apart or at + one.room <= there or there + other.room <= at
    steps = range(max((buffer.last for buffer in given), default=0) + 1)
    least = max((sum(b.room for b in given if b.first <= step <= b.last) for step in steps), default=0)
    assert least <= peak(given) <= sum(buffer.room for buffer in given)
    assert all(place % 16 == 0 for place in places)


STUBS = {
    "tensorflow/lite/schema/schema_generated.h": """#pragma once
namespace tflite { struct Model {}; inline const Model* GetModel(const void*) { static Model model; return &model; } }
""",
    "tensorflow/lite/micro/micro_mutable_op_resolver.h": """#pragma once
namespace tflite { class MicroOpResolver {}; template <unsigned int count>
class MicroMutableOpResolver : public MicroOpResolver { public: METHODS }; }
""",
    "tensorflow/lite/micro/micro_interpreter.h": """#pragma once
#include <cstddef>
#include <cstdint>
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteIntArray { int size; int data[4]; };
struct TfLiteTensor { union { uint8_t* uint8; } data; TfLiteIntArray* dims; };
namespace tflite { class MicroInterpreter { public:
  MicroInterpreter(const Model*, const MicroOpResolver&, uint8_t*, size_t) {}
  TfLiteStatus AllocateTensors() { return kTfLiteOk; }
  TfLiteTensor* input(size_t) { static uint8_t values[4096]; static TfLiteIntArray dims = {4, {1, 32, 32, 1}};
    static TfLiteTensor tensor; tensor.data.uint8 = values; tensor.dims = &dims; return &tensor; }
  TfLiteTensor* output(size_t) { static uint8_t values[10] = {0, 0, 0, 0, 0, 0, 0, 200, 0, 0};
    static TfLiteTensor tensor; tensor.data.uint8 = values; return &tensor; }
  TfLiteStatus Invoke() { return kTfLiteOk; } }; }
""",
}
DRIVER = """
int main(int, char** sizes) {
  static uint8_t pixels[1 << 20];
  const int width = atoi(sizes[1]), height = atoi(sizes[2]);
  if (fread(pixels, 1, sizeof(pixels), stdin) == 0 || !begin() || classify(pixels, width, height) != 7) return 1;
  fwrite(interpreter->input(0)->data.uint8, 1, 1024, stderr);
  return 0;
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("size", [(97, 61), (40, 120), (320, 240), (20, 31), (32, 32)])
def test_the_program_of_the_docs_resizes_as_predict_does(size, board, once):
    """Against headers that have only the names which the program uses, not against TFLite Micro's own."""
    from PIL import Image

    from recipes.data.decoding import to_array

    folder, _ = board

    def make(out):
        text = (Path(__file__).parents[1] / "docs" / "boards.md").read_text("utf-8")
        code = re.search(r"<!-- main.cc.*?```cpp\n(.*?)```", text, re.S)[1]
        (out / "main.cc").write_text(f"#include <cstdlib>\n{code}{DRIVER}")
        calls = micro.resolver_calls(TFLiteFile(folder / "digits.tflite").graph)
        methods = " ".join(f"int {call}() {{ return 0; }}" for call in calls)
        for name, content in STUBS.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(content.replace("METHODS", methods))
        flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-O1", "-I.", f"-I{folder}"]
        command = ["g++", *flags, "main.cc", folder / "digits.cc", "-o", "program"]
        subprocess.run(command, cwd=out, check=True)

    program = once("boards-program", make) / "program"
    width, height = size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    done = subprocess.run([program, str(width), str(height)], input=pixels.tobytes(), capture_output=True, check=True)
    assert done.stdout == b"7 200/256\n"
    expected = to_array(Image.fromarray(pixels), (32, 32, 1), "fill")
    received = np.frombuffer(done.stderr, np.uint8).reshape(32, 32, 1)
    assert np.abs(expected.astype(int) - received).max() <= 2
    assert np.abs(expected.astype(int) - received).mean() < 0.3


def test_memory_is_told_and_drawn(int8_file, tmp_path):
    from click.testing import CliRunner

    import cli

    plot = tmp_path / "memory.svg"
    done = CliRunner().invoke(cli.commands, ["inspect", str(int8_file), "--memory", "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    assert "########## busiest" in done.output
    assert "9,408 bytes hold all values" in done.output
    assert plot.read_text("utf-8").lstrip().startswith("<?xml")
    done = CliRunner().invoke(cli.commands, ["inspect", str(int8_file), "--memory", "--json"])
    memory = json.loads(done.output)["memory"]
    assert memory["bytes"] == max(place["offset"] + place["bytes"] for place in memory["places"]) == 9408
    assert "memory" not in json.loads(CliRunner().invoke(cli.commands, ["inspect", str(int8_file), "--json"]).output)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "POW"}, "cannot run this file: it has no POW."),
        ({"dtype": "float32"}, "it has no float values with int8 weights; export to c-array."),
        ({"dtype": "float16"}, "it has no float16; export to c-array."),
    ],
)
def test_files_that_are_not_for_boards_are_told(int8_file, change, message):
    from recipes.tflite import inspect

    inspected, graph = inspect(int8_file, memory=True), TFLiteFile(int8_file).graph
    assert micro.obstacle(graph) == inspected.obstacle == ""
    changed = [replace(operator, kind=change.get("kind", operator.kind)) for operator in graph.operators]
    types = [replace(tensor, dtype="int8" if tensor.bytes else change.get("dtype", "int8")) for tensor in graph.tensors]
    obstacle = micro.obstacle(replace(graph, operators=tuple(changed), tensors=tuple(types)))
    assert message in text.inspected(replace(inspected, obstacle=obstacle))


def test_memory_cannot_be_drawn_to_anything(int8_file, tmp_path):
    from recipes.tflite import inspect
    from recipes.tflite.drawing import draw_memory

    memory = inspect(int8_file, memory=True).memory
    with pytest.raises(RequestError, match=r"allowed endings: \.png, \.svg"):
        draw_memory(memory, "a net", tmp_path / "memory.gif")
    with pytest.raises(RequestError, match="is not a folder"):
        draw_memory(memory, "a net", tmp_path / "none" / "memory.png")


def test_models_are_chosen_by_their_arena():
    import zoo
    from zoo.catalogue import arena, select

    small = select(max_arena=32e3, sort="arena")
    assert "lenet5" in [card.name for card in small]
    assert [arena(card) for card in small] == sorted(arena(card) for card in small)
    assert len(small) < len(zoo.list_models())
    listed = text.model_list(small, arena=True)
    assert f"{arena(small[0]):,.0f}" in listed
    assert "int8 arena" in listed


def test_the_estimate_of_a_card_is_near_the_plan_of_its_file(int8_file):
    from zoo.anatomy import totals

    assert totals("lenet5")["arena_bytes"] == plan_memory(TFLiteFile(int8_file).graph).bytes
