"""What an offline run of Weights & Biases has written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record


def read(file: Path) -> Iterator[Record]:
    """The records of an offline run's file: LevelDB's log format after a header of 7 bytes."""
    content, at, whole = file.read_bytes(), 7, b""
    while at < len(content):
        if 32768 - at % 32768 < 7:  # the rest of a block that holds no header
            at += 32768 - at % 32768
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        whole += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # full, or the last part
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def history(record: Record) -> dict[str, str]:
    """Keys and JSON values of one step."""
    return {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
