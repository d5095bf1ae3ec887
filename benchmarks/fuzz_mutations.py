"""Changes to files at the level of what they are made of: `benchmarks/fuzz.py` reads what comes of them.

A mutation takes the content of a file and a source of draws, and gives a changed content. `MUTATIONS` has one for each
ending; `mutate_bytes` is for any.
"""

import csv
import gzip
import io
import json
import os
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Draw = random.Random
Mutation = Callable[[bytes, Draw], bytes]
NUMBERS = (0, 1, -1, 2, 7, 127, 128, 255, 256, 9999, 2**15, 2**16, 2**24, 2**31 - 1, -(2**31))
REALS = (0.0, -0.0, -1.0, 1e-45, 1e-38, 1e38, float("inf"), float("nan"), -3e9, 0.5)
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**30,
    10**400,
    "",
    "x",
    "\n",
    "\x1b[2J",
    "\ud800",
    "a\0b",
    [],
    {},
    [[]],
    [None],
)
TEXTS = (
    "",
    "x",
    "\n",
    "\r",
    "\0",
    "\x1b[2J",
    '"',
    ",",
    "nan",
    "-inf",
    "1e999",
    "9" * 5000,
    "\u2028",
    "../../x",
    "=1+1",
)


def mutate_bytes(content: bytes, draw: Draw) -> bytes:
    """Flips, overwrites, cuts, inserts or repeats bytes."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        place, length = draw.randrange(max(1, len(changed))), draw.choice((1, 2, 4, 4, 8))
        kind = draw.randrange(6)
        if kind == 0 and changed:
            changed[min(place, len(changed) - 1)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[place : place + length] = draw.randbytes(length)
        elif kind == 2:
            changed[place : place + 4] = (draw.choice(NUMBERS) % 2**32).to_bytes(4, draw.choice(("little", "big")))
        elif kind == 3:
            del changed[place : place + draw.choice((1, 4, 100, len(changed)))]
        elif kind == 4:
            changed[place:place] = draw.randbytes(length)
        else:
            other = draw.randrange(max(1, len(changed)))
            changed[place : place + length] = changed[other : other + length]
    return bytes(changed)


# Text


def mutate_tree(value: Any, draw: Draw) -> Any:
    """Changes one value, key or list in what JSON or TOML holds."""
    way = _places(value)
    owner, key = draw.choice(way) if way else ([value], 0)
    kind = draw.randrange(7)
    if kind == 0:
        del owner[key]
    elif kind == 1:
        owner[key] = [owner[key]]
    elif kind == 2 and isinstance(owner, dict):
        owner[draw.choice((*TEXTS, *map(str, owner)))] = owner.pop(key)
    elif kind == 3 and isinstance(owner[key], list):
        owner[key] = owner[key] * draw.choice((0, 2, 1000))
    elif kind == 4 and isinstance(owner[key], int | float):
        owner[key] = draw.choice((*NUMBERS, *REALS))
    elif kind == 5:
        deep: Any = 0
        for _ in range(draw.choice((3, 40, 400))):
            deep = [deep] if draw.random() < 0.5 else {"x": deep}
        owner[key] = deep
    else:
        owner[key] = draw.choice(VALUES)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *_places(value[key])]]


def mutate_json(content: bytes, draw: Draw) -> bytes:
    value = json.loads(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        value = mutate_tree(value, draw)
    return json.dumps(value).encode()


def mutate_lines(content: bytes, draw: Draw) -> bytes:
    """Lines of JSON, as a journal has them: dropped, doubled, swapped, or one of them changed."""
    lines = content.splitlines()
    place = draw.randrange(len(lines))
    kind = draw.randrange(5)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(draw.randrange(len(lines)), lines[place])
    elif kind == 2:
        lines[place] = mutate_bytes(lines[place], draw)
    else:
        lines[place] = mutate_json(lines[place], draw)
    return b"\n".join(lines) + b"\n" * draw.choice((0, 1, 1, 1, 2))


def mutate_toml(content: bytes, draw: Draw) -> bytes:
    import tomllib

    import tomli_w

    value = tomllib.loads(content.decode())
    for _ in range(draw.choice((1, 1, 2, 5))):
        value = mutate_tree(value, draw)
    return tomli_w.dumps(_without_none(value)).encode("utf-8", "surrogatepass")


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value if one is not None] if isinstance(value, list) else value


def mutate_csv(content: bytes, draw: Draw) -> bytes:
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    for _ in range(draw.choice((1, 1, 2, 5))):
        row = draw.choice(rows)
        kind = draw.randrange(6)
        if kind == 0:
            rows.remove(row)
            rows = rows or [[""]]
        elif kind == 1:
            rows.insert(draw.randrange(len(rows) + 1), list(row) * draw.choice((1, 2)))
        elif kind == 2 and row:
            row.pop(draw.randrange(len(row)))
        elif row:
            row[draw.randrange(len(row))] = draw.choice((*TEXTS, draw.choice(draw.choice(rows) or [""])))
    out = io.StringIO(newline="")
    quoting = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONE))
    csv.writer(out, lineterminator=draw.choice(("\n", "\r\n", "\r")), quoting=quoting, escapechar="\\").writerows(rows)
    return draw.choice((b"", b"", b"", b"\xef\xbb\xbf")) + out.getvalue().encode("utf-8", "surrogatepass")


def mutate_text(content: bytes, draw: Draw) -> bytes:
    lines = content.decode().split("\n")
    place = draw.randrange(len(lines))
    lines[place : place + draw.choice((0, 1, 1))] = [draw.choice((*TEXTS, lines[draw.randrange(len(lines))]))]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


# Archives and arrays


def mutate_zip(content: bytes, draw: Draw) -> bytes:
    """Changes one file in an archive by its own ending, its name, or how the archive is written."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = draw.choice(list(files))
    kind = draw.randrange(10)
    if kind == 0:
        files[draw.choice((f"{name}x", "../x", name.upper(), ""))] = files.pop(name)
    elif kind == 1:
        del files[name]
    elif kind == 2:
        files[name] = files[name] * draw.choice((0, 2, 50))
    elif kind == 3:
        return mutate_bytes(content, draw)
    else:
        files[name] = mutation_of(name)(files[name], draw)
    method = draw.choice(
        (zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,) * 4 + (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings(action="ignore"):
        for each, one in files.items():
            archive.writestr(each, one)
        if draw.random() < 0.05:
            archive.writestr(name, b"again")
    changed = bytearray(out.getvalue())
    if draw.random() < 0.3:  # in the directory: sizes, offsets, flags, methods, names
        place = changed.rfind(b"PK\x01\x02")
        at = place + draw.randrange(4, 46)
        changed[at : at + 2] = draw.choice((b"\0\0", b"\xff\xff", b"\x01\0", draw.randbytes(2)))
    return bytes(changed)


def mutate_npy(content: bytes, draw: Draw) -> bytes:
    """Another shape, type or order in the header than the numbers behind it have."""
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(file)
    header: dict[str, Any] = {"descr": dtype.str, "fortran_order": by_column, "shape": shape}
    key = draw.choice(list(header))
    header[key] = {
        "descr": draw.choice(("|O", "<f8", ">f4", "<U9", "|V4", "<M8[s]", "|b1", "", "x")),
        "fortran_order": draw.choice((True, "yes", 2)),
        "shape": draw.choice(((), (0,), (-1,), (2**40,), (2**62, 4), (1,) * 40, (*shape, 2), "x", (True,))),
    }[key]
    text = f"{header}\n".encode()
    if draw.random() < 0.1:
        text = b"(" * draw.choice((50, 9_000)) + text
    version = draw.choice((b"\1\0",) * 6 + (b"\2\0", b"\3\0", b"\x09\0"))
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + file.read()


def mutate_pickle(content: bytes, draw: Draw) -> bytes:
    """Opcodes of a pickle put in, or numbers and lengths in it changed."""
    if draw.random() < 0.5:
        return mutate_bytes(content, draw)
    opcodes = (
        b"r\xff\xff\xff\x7f",  # into a place of the memo far away
        b"j\xff\xff\xff\x7f",
        b"\x8a\xff" + b"\xff" * 255,  # a long number
        b"X\xff\xff\xff\x7f",  # a text that is longer than the file
        b"cos\nsystem\n",
        b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"R",
        b"(",
        b"t",
        b"}",
        b"]" * 300,
        b"\x85" * 3000,
        b"u",
        b"s",
        b"0",
        b"Q",
        b".",
        b"\x94" * 10,
        b"K\x00",
        b"J\xff\xff\xff\x7f",
        b"J\xff\xff\xff\xff",
        b"N",
        b"h\x01",
    )
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 3))):
        place = draw.randrange(len(changed))
        changed[place : place + draw.choice((0, 0, 1, 5))] = draw.choice(opcodes)
    return bytes(changed)


def mutate_hdf5(content: bytes, draw: Draw) -> bytes:
    """Other shapes, types, links and attributes, as h5py writes them; or bytes, most of them where structure is."""
    import h5py

    if draw.random() < 0.5:
        cut = draw.choice((256, 2048, 8192, len(content)))
        return mutate_bytes(content[:cut], draw) + content[cut:]
    file = io.BytesIO(content)
    with h5py.File(file, "r+") as opened:
        places: list[str] = []
        opened.visit(places.append)
        place = draw.choice(places)
        found = opened[place]
        kind = draw.randrange(8)
        if kind == 0:
            del opened[place]
        elif kind == 1:
            opened[f"{place}x"] = h5py.SoftLink(draw.choice(("/", place, f"/{place}x", "nowhere")))
        elif kind == 2:
            opened[f"{place}y"] = h5py.ExternalLink(draw.choice(("/etc/passwd", "other.h5")), "/")
        elif kind == 3:
            found.attrs["name"] = draw.choice(("backbone", "", "x" * 60_000, 5, np.zeros(3), b"\xff"))
        elif kind == 4:
            opened[f"{place}z"] = opened["/"]  # a group in itself
        elif isinstance(found, h5py.Dataset):
            del opened[place]
            dtype = draw.choice(("f8", "f2", "i4", "S9", h5py.string_dtype(), h5py.ref_dtype, "c8", "?"))
            if kind == 5:
                opened.create_dataset(place, draw.choice(((), (0,), (2**40,), (1,) * 30)), dtype, chunks=None)
            elif kind == 6:
                opened.create_dataset(place, (2**34,), "f4", chunks=(2**20,), compression="gzip", fillvalue=1)
            else:
                opened.create_dataset(place, (4,), "f4", external=[("/etc/passwd", 0, 16)])
    return file.getvalue()


def mutate_idx(content: bytes, draw: Draw) -> bytes:
    """Another kind, number of dimensions, or dimension in the header."""
    packed = content.startswith(b"\x1f\x8b")
    changed = bytearray(gzip.decompress(content) if packed else content)
    if draw.random() < 0.5:
        changed[2:4] = bytes((draw.choice((8, 8, 9, 0x0D, 0)), draw.choice((0, 1, 2, 3, 4, 5, 255))))
    else:
        place = 4 + 4 * draw.randrange(max(1, changed[3]))
        changed[place : place + 4] = struct.pack(">I", draw.choice(NUMBERS) % 2**32)
    return mutate_bytes(gzip.compress(bytes(changed)), draw) if packed and draw.random() < 0.3 else bytes(changed)


# Images


def mutate_image(content: bytes, draw: Draw) -> bytes:
    """Bytes, most of them near the beginning; of a PNG the chunks' checksums are made to fit."""
    cut = draw.choice((16, 64, 256, len(content)))
    changed = mutate_bytes(content[:cut], draw) + content[cut:]
    return _with_checksums(changed) if content.startswith(b"\x89PNG") and draw.random() < 0.8 else changed


def _with_checksums(content: bytes) -> bytes:
    changed, place = bytearray(content), 8
    while place + 12 <= len(changed):
        (length,) = struct.unpack_from(">I", changed, place)
        end = place + 8 + length
        if end + 4 > len(changed):
            break
        changed[end : end + 4] = struct.pack(">I", zlib.crc32(changed[place + 4 : end]))
        place = end + 4
    return bytes(changed)


# TFLite


def mutate_tflite(content: bytes, draw: Draw) -> bytes:
    """Changes fields of the flatbuffer by its schema; labels and facts behind it stay, without their digest."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    from recipes.tflite import metadata

    texts: dict[str, str] = {}
    if b"PK\x03\x04" in content:
        texts, end = metadata.attached_files(content, "seed")
        content = content[:end]
        texts = {name: text for name, text in texts.items() if name == "labels.txt" or draw.random() < 0.1}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        _mutate_field(model, draw)
    builder = flatbuffers.Builder(len(content) + 1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    packed = bytes(builder.Output())
    return metadata.append_files(packed, texts) if texts else packed


def _mutate_field(model: Any, draw: Draw) -> None:
    graph = model.subgraphs[0]
    owners = [
        graph.tensors,
        graph.operators,
        model.buffers,
        model.operatorCodes,
        model.metadata or [],
        [graph],
        [model],
    ]
    owner = draw.choice(draw.choice([kind for kind in owners[:4] * 3 + owners if kind]))
    for name in ("quantization", "builtinOptions"):
        if getattr(owner, name, None) is not None and draw.random() < 0.6:
            owner = getattr(owner, name)
    names = [name for name, value in vars(owner).items() if _is_plain(value)]
    if not names:
        return
    name = draw.choice(names)
    setattr(owner, name, _changed(getattr(owner, name), draw))


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | bytes | np.ndarray) or (
        isinstance(value, list) and all(isinstance(entry, int | float) for entry in value)
    )


def _changed(value: Any, draw: Draw) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice((value + 1, value - 1, draw.randrange(32), draw.choice(NUMBERS))) % 128
    if isinstance(value, float):
        return draw.choice(REALS)
    if isinstance(value, bytes):
        return draw.choice((b"", value * 2, draw.randbytes(5)))
    values = np.array(value)
    kind = draw.randrange(5)
    if kind == 0 or not values.size:
        return values[: draw.randrange(values.size + 1)]
    if kind == 1:
        return np.concatenate([values, values[: draw.choice((1, values.size))]])
    place = draw.randrange(values.size)
    if values.dtype.kind == "f":
        values[place] = draw.choice(REALS)
    else:
        limits = np.iinfo(values.dtype)
        near = int(values[place]) + draw.choice((-1, 1))
        values[place] = min(max(draw.choice((near, draw.randrange(32), *NUMBERS)), limits.min), limits.max)
    return values


# Any file, and folders

MUTATIONS: dict[str, Mutation] = {
    ".json": mutate_json,
    ".toml": mutate_toml,
    ".csv": mutate_csv,
    ".tsv": mutate_csv,
    ".txt": mutate_text,
    ".log": mutate_lines,
    ".keras": mutate_zip,
    ".npz": mutate_zip,
    ".pth": mutate_zip,
    ".npy": mutate_npy,
    ".pkl": mutate_pickle,
    ".pt": mutate_pickle,
    ".h5": mutate_hdf5,
    ".tflite": mutate_tflite,
    "-ubyte": mutate_idx,
    ".gz": mutate_idx,
    **dict.fromkeys((".png", ".jpg", ".tiff", ".webp", ".gif", ".bmp"), mutate_image),
}


def mutation_of(name: str) -> Mutation:
    return next((mutate for ending, mutate in MUTATIONS.items() if name.endswith(ending)), mutate_bytes)


def mutate_folder(folder: Path, draw: Draw) -> None:
    """Changes one or two files of a folder by their endings; now and then a file is something else than a file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for file in draw.sample(files, min(len(files), draw.choice((1, 1, 1, 2)))):
        kind = draw.random()
        if kind < 0.85:
            own = draw.random() < 0.7
            file.write_bytes((mutation_of(file.name) if own else mutate_bytes)(file.read_bytes(), draw))
            continue
        file.unlink()
        if kind < 0.88:
            file.mkdir()
        elif kind < 0.91:
            os.mkfifo(file)
        elif kind < 0.94:
            file.symlink_to(draw.choice(("nowhere", file.name, "/dev/zero", "/proc/self/mem")))
        elif kind < 0.97:
            file.write_bytes(b"")
