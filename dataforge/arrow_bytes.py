"""Arrow tables as the bytes of a file."""

import pyarrow as pa
import pyarrow.parquet as pq


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    """An Arrow IPC stream; a table of one chunk is one record batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def file(table: pa.Table, rows_per_batch: int) -> bytes:
    """An Arrow IPC file, whose batches are found without reading those before them."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return bytes(sink.getvalue())


def parquet(table: pa.Table, compression: str = "zstd", *, dictionary: bool = True) -> bytes:
    """A Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression, use_dictionary=dictionary)
    return bytes(sink.getvalue())
