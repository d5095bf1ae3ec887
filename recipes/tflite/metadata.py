"""What a `.tflite` file says about itself, as MediaPipe Tasks and ML Kit read it.

TFLite's metadata is a second flatbuffer inside the first, and files (labels) in a zip archive behind it. The tools
that used to write it are gone; the part of its schema that a classifier needs is `_SCHEMA` below
(tensorflow/lite/schema/metadata_schema.fbs). Nothing here imports TensorFlow.
"""

import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np

from recipes.tflite.flatbuffer import TEXT, DamageError, Schema, read
from recipes.tflite.graph import read_model
from recipes.tflite.writing import packed, unpacked
from zoo.errors import RequestError

NAME, IDENTIFIER = b"TFLITE_METADATA", b"M001"
AXIS_LABELS = 2  # AssociatedFileType: a line of the file is the name of a place along the tensor's last axis
MAX_ATTACHED = 16 * 2**20  # bytes; a file of labels with more is taken for a bomb
# Of an archive that is damaged, encrypted, or packed in an unknown way.
_UNREADABLE = (zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)

_CONTENT = {1: "FeatureProperties", 2: "ImageProperties"}
_OPTIONS = {1: "Normalization", 3: "ScoreThresholding"}
_SCHEMA: Schema = {
    "Model": {
        "name": TEXT,
        "description": TEXT,
        "version": TEXT,
        "subgraph_metadata": ["SubGraph"],
        "author": TEXT,
        "license": TEXT,
        "associated_files": ["File"],
        "min_parser_version": TEXT,
    },
    "SubGraph": {
        "name": TEXT,
        "description": TEXT,
        "input_tensor_metadata": ["Tensor"],
        "output_tensor_metadata": ["Tensor"],
    },
    "Tensor": {
        "name": TEXT,
        "description": TEXT,
        "dimension_names": None,
        "content": "Content",
        "process_units": ["ProcessUnit"],
        "stats": "Stats",
        "associated_files": ["File"],
    },
    "Content": {"content_properties_type": "u1", "content_properties": _CONTENT},
    "ProcessUnit": {"options_type": "u1", "options": _OPTIONS},
    "ImageProperties": {"color_space": "u1"},
    "FeatureProperties": {},
    "Normalization": {"mean": "[f4]", "std": "[f4]"},
    "ScoreThresholding": {"global_score_threshold": "f4"},
    "Stats": {"max": "[f4]", "min": "[f4]"},
    "File": {"name": TEXT, "description": TEXT, "type": "u1"},
}


def classifier_metadata(
    *,
    name: str,
    description: str,
    version: str,
    author: str,
    license: str,
    channels: int,
    resize: str,
    label_file: str,
    shares: bool = True,
    threshold: float | None = None,
) -> bytes:
    """Metadata of a model from one image, pixels 0-255, to a score a class.

    Args:
        channels: 1 (grey), 3 (RGB), or another number, which has no name.
        resize: what is done to images of another size; the schema has no field for it, so it is described.
        label_file: the attached file with class names.
        shares: whether scores are from 0 to 1; else they are numbers in a unit of their own.
        threshold: the score below which MediaPipe gives no answer.
    """
    image = {
        "name": "image",
        "description": f"Pixels 0-255 as they are; images of another size: {resize}.",
        "content": {
            "content_properties_type": 2,
            "content_properties": {"color_space": {3: 1, 1: 2}.get(channels, 0)},
        },
        # The model rescales pixels itself: to subtract nothing and divide by one is what is left to the app.
        "process_units": [{"options_type": 1, "options": {"mean": [0.0], "std": [1.0]}}],
        "stats": {"max": [255.0], "min": [0.0]},
    }
    scores = {
        "name": "score",
        "description": "A score for each class." if shares else "A number, in the unit that the model was trained on.",
        "content": {"content_properties_type": 1, "content_properties": {}},
        **({"process_units": [_threshold_unit(threshold)]} if threshold is not None else {}),
        **({"stats": {"max": [1.0], "min": [0.0]}} if shares else {}),
        "associated_files": [{"name": label_file, "description": "Class names, one a line.", "type": AXIS_LABELS}],
    }
    facts = {"name": name, "description": description, "version": version, "author": author, "license": license}
    graph = {"input_tensor_metadata": [image], "output_tensor_metadata": [scores]}
    return encode(facts | {"subgraph_metadata": [graph], "min_parser_version": "1.0.0"})


def _threshold_unit(threshold: float) -> dict[str, Any]:
    # A float32 of its own: rounded up, it would leave out the very image that it was taken from.
    least = np.float32(threshold)
    least = least if float(least) <= threshold else np.nextafter(least, np.float32(0))
    return {"options_type": 3, "options": {"global_score_threshold": float(least)}}


def encode(facts: Mapping[str, Any]) -> bytes:
    """Metadata as a flatbuffer; `facts` is a tree of the fields of `_SCHEMA`, beginning at `Model`."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, "Model", facts), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _write(builder: flatbuffers.Builder, table: str, values: Mapping[str, Any]) -> int:
    fields = _SCHEMA[table]
    children = {}  # a flatbuffer is written from the leaves up: everything a table refers to comes before it
    for field, kind in fields.items():
        if kind in ("u1", "f4") or values.get(field) is None:
            continue
        if isinstance(kind, dict):
            kind = kind[values[f"{field}_type"]]
        children[field] = _write_child(builder, kind, values[field])
    builder.StartObject(len(fields))
    for slot, (field, kind) in enumerate(fields.items()):
        if kind == "u1":
            builder.PrependUint8Slot(slot, values.get(field, 0), 0)
        elif kind == "f4":
            builder.PrependFloat32Slot(slot, values.get(field, 0.0), 0.0)
        elif field in children:
            builder.PrependUOffsetTRelativeSlot(slot, children[field], 0)
    return int(builder.EndObject())


def _write_child(builder: flatbuffers.Builder, kind: Any, value: Any) -> int:
    """Writes what a field refers to: a text, numbers, tables, or a table of the name `kind`."""
    if kind == TEXT:
        return int(builder.CreateString(value))
    if kind == "[f4]":
        return int(builder.CreateNumpyVector(np.asarray(value, "<f4")))
    if not isinstance(kind, list):
        return _write(builder, kind, value)
    entries = [_write(builder, kind[0], entry) for entry in value]
    builder.StartVector(4, len(entries), 4)
    for entry in reversed(entries):
        builder.PrependUOffsetTRelative(entry)
    return int(builder.EndVector())


def decode(metadata: bytes) -> dict[str, Any]:
    """The tree that `encode` was given; fields that are not in `_SCHEMA` are left out.

    Raises:
        DamageError: the bytes are not metadata.
    """
    if metadata[4:8] != IDENTIFIER:
        raise DamageError("its metadata is none of TFLite's")
    tree: dict[str, Any] = _plain(read(metadata, _SCHEMA, "Model"))
    return tree


def _plain(value: Any) -> Any:
    """Vectors of numbers as lists."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def insert(content: bytes, metadata: bytes) -> bytes:
    """The TFLite flatbuffer with metadata in it, in place of what metadata it had."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpacked(content)
    entries = {entry.name: entry for entry in model.metadata or []}
    if NAME not in entries:
        entry = schema.MetadataT()
        entry.name = NAME
        entry.buffer = len(model.buffers)
        entries[NAME] = entry
        model.buffers.append(schema.BufferT())
    model.metadata = list(entries.values())
    model.buffers[entries[NAME].buffer].data = np.frombuffer(metadata, np.uint8)
    return packed(model)


def find(content: bytes) -> dict[str, Any]:
    """The metadata inside a TFLite flatbuffer as a tree, empty if it has none; raises as `of_model`."""
    return of_model(read_model(content))


def of_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """The same of what `recipes.tflite.graph.read_model` gave.

    Raises:
        DamageError: it cannot be read.
    """
    buffers = model.get("buffers", [])
    for entry in model.get("metadata", []):
        if entry.get("name") == NAME.decode():
            number = entry.get("buffer", 0)
            if number >= len(buffers):
                raise DamageError("its metadata is in a buffer that it does not have")
            return decode(np.asarray(buffers[number].get("data", ()), np.uint8).tobytes())
    return {}


def first(metadata: Mapping[str, Any], tensors: str) -> dict[str, Any]:
    """The metadata of the first input or output tensor, empty if there is none."""
    graphs = metadata.get("subgraph_metadata") or [{}]
    entries: list[dict[str, Any]] = graphs[0].get(f"{tensors}_tensor_metadata") or [{}]
    return entries[0]


def label_file(metadata: Mapping[str, Any]) -> str | None:
    """The name of the attached file with class names, None if there is none."""
    files = first(metadata, "output").get("associated_files", [])
    return next((file["name"] for file in files if file.get("type") == AXIS_LABELS and "name" in file), None)


def normalization(metadata: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """(mean, std) that a float input's pixels are normalised with: (pixel - mean) / std."""
    for unit in first(metadata, "input").get("process_units", []):
        if "mean" in (options := unit.get("options", {})):
            return options["mean"], options["std"]
    return [0.0], [1.0]


def score_threshold(metadata: Mapping[str, Any]) -> float | None:
    """The score below which there is no answer, None if it says none."""
    units = first(metadata, "output").get("process_units", [])
    told = [unit.get("options", {}) for unit in units if unit.get("options_type") == 3]
    return next((float(options.get("global_score_threshold", 0.0)) for options in told), None)


def append_files(content: bytes, files: Mapping[str, str]) -> bytes:
    """The file with a zip archive of texts behind it, stored as they are: MediaPipe reads no compressed ones."""
    whole = io.BytesIO(content)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            # A fixed date: the same run exports to the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return whole.getvalue()


def attached_files(content: bytes, path: object) -> tuple[dict[str, str], int]:
    """The texts behind a flatbuffer, by name, and where the flatbuffer ends.

    Raises:
        zipfile.BadZipFile: there is no archive.
        RequestError: a file in the archive is larger than any file of labels is, or cannot be read.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > MAX_ATTACHED:
            raise RequestError(f"{path} has more than {MAX_ATTACHED >> 20} MiB attached; allowed: labels and facts.")
        try:
            texts = {entry.filename: archive.read(entry).decode("utf-8", "replace") for entry in entries}
        except (
            zlib.error,
            lzma.LZMAError,
            EOFError,
            OSError,
            RuntimeError,
        ) as error:  # damaged, encrypted, or packed in an unknown way
            raise RequestError(f"{path}: what is attached to it cannot be read: {error}.") from None
    return texts, min((entry.header_offset for entry in entries), default=len(content))
