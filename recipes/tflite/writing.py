"""TFLite flatbuffers made again from what was read of them, with something changed."""

from functools import partial
from typing import Any

import flatbuffers
import numpy as np

_ALIGNMENT = 16  # of weights: what the schema asks for, and what kernels on small boards rely on


def unpacked(content: bytes) -> Any:
    """A flatbuffer as the objects of its schema, `ModelT` first: to be changed, and given to `packed`."""
    from ai_edge_litert import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def packed(model: Any) -> bytes:
    """The flatbuffer of such objects."""
    for buffer in model.buffers:
        buffer.Pack = partial(_pack_aligned, buffer)  # the generated one forgets the alignment
    builder = flatbuffers.Builder(4096 + sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _pack_aligned(buffer: Any, builder: flatbuffers.Builder) -> int:
    from ai_edge_litert import schema_py_generated as schema

    data = b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
    if data:
        builder.StartVector(1, len(data), _ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        vector = builder.EndVector()
    schema.BufferStart(builder)
    if data:
        schema.BufferAddData(builder, vector)
    return int(schema.BufferEnd(builder))
