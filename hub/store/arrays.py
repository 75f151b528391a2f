"""PostgreSQL arrays in binary, fast: a batch's rows travel as one array per column, an IN list as one array.

psycopg's own list dumper looks at each element twice and sizes integers by the largest; these know their type.
Format: `array_send` in PostgreSQL's `src/backend/utils/adt/arrayfuncs.c` - dimensions, null flag, element type, then
length and lower bound of the dimension, then each element behind its length, -1 for null. All big-endian.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

INT8, BYTEA, TEXT = 20, 17, 25  # pg_type.dat
INT8_ARRAY, BYTEA_ARRAY, TEXT_ARRAY = 1016, 1001, 1009
_HEAD, _EMPTY = struct.Struct(">iiIii"), struct.Struct(">iiI")
_LENGTH = struct.Struct(">i").pack
_INT = struct.Struct(">iq").pack
_NULL = _LENGTH(-1)


class Array:
    """Values of one column, or of an IN list."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values


class Integers(Array):
    __slots__ = ()


class Binaries(Array):
    __slots__ = ()


class Texts(Array):
    __slots__ = ()


OF_TYPE: dict[str, type[Array]] = {
    "smallint": Integers, "integer": Integers, "bigint": Integers, "bytea": Binaries,
    "text": Texts, "character varying": Texts,
}  # fmt: skip


def array_of(values: Sequence[Any]) -> Array | list[Any]:
    """Wrap the values of an IN list by what the first one is. An empty one takes its type from the other side."""
    if not values:
        return []
    first = values[0]
    if isinstance(first, int):
        return Integers(values)
    return Texts(values) if isinstance(first, str) else Binaries(values)


class IntegersDumper(Dumper):
    format, oid = Format.BINARY, INT8_ARRAY

    def dump(self, obj: Array) -> Buffer:
        """Pack all at once; with a null in between, one by one."""
        values = obj.values
        if None not in values:
            size = len(values)
            return _head(size, INT8) + _integers(size).pack(
                *chain.from_iterable(zip(repeat(8, size), values, strict=True))
            )
        return _head(len(values), INT8, 1) + b"".join([_NULL if one is None else _INT(8, one) for one in values])


class BinariesDumper(Dumper):
    format, oid = Format.BINARY, BYTEA_ARRAY

    def dump(self, obj: Array) -> Buffer:
        return _pieces(obj.values, BYTEA)


class TextsDumper(Dumper):
    format, oid = Format.BINARY, TEXT_ARRAY

    def dump(self, obj: Array) -> Buffer:
        return _pieces([None if one is None else one.encode() for one in obj.values], TEXT)


def _pieces(values: Sequence[bytes | None], oid: int) -> bytes:
    pieces: list[bytes] = [_head(len(values), oid, int(None in values))]
    for one in values:
        if one is None:
            pieces.append(_NULL)
        else:
            pieces.append(_LENGTH(len(one)))
            pieces.append(one)
    return b"".join(pieces)


def _head(size: int, oid: int, nulls: int = 0) -> bytes:
    return _HEAD.pack(1, nulls, oid, size, 1) if size else _EMPTY.pack(0, 0, oid)


@lru_cache(maxsize=1_024)
def _integers(size: int) -> struct.Struct:
    return struct.Struct(">" + "iq" * size)
