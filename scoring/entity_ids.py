"""Entity ids in users' files: text stays as it is, whole numbers become decimal text."""

import pyarrow as pa
import pyarrow.compute as pc


def text_ids(ids: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Ids as strings, from any text or integer type; None for other types."""
    kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (is_text or pa.types.is_integer(kind)):
        return None
    return pc.cast(pc.cast(ids, kind), pa.string())
