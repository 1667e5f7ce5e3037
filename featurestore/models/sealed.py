"""JSON files that carry their own digest: a changed byte anywhere in one is found before anything in it counts."""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurestore.errors import NewerFormat, OperationError, StoreDamaged
from featurestore.log.segments import sync_folder

FORMAT = 1
_DIGEST = "digest"
_LONGEST = 64 << 20  # bytes


def seal(document: Mapping[str, Any]) -> bytes:
    """Bytes of a document with its format and digest in it; NaN and infinity have no place in one."""
    body = {"format": FORMAT, **document}
    return _rendered({**body, _DIGEST: _digest(body)})


def unseal(content: bytes, path: Path) -> dict[str, Any]:
    """Document of such bytes, without its digest.

    Raises
    ------
    StoreDamaged
        If they are not exactly what :func:`seal` gave.
    NewerFormat
        If a later version of the product wrote them.
    """
    try:
        document = json.loads(content)
        body = {name: value for name, value in document.items() if name != _DIGEST}
        intact = _rendered({**body, _DIGEST: _digest(body)}) == content
        newer = body["format"] > FORMAT
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise StoreDamaged(f"{path} is damaged: {error}. Restore it from a backup.") from error
    if not intact:
        raise StoreDamaged(f"{path} is damaged: it does not match the digest that it carries. Restore it.")
    if newer:
        raise NewerFormat(f"{path} has format {body['format']}; this version reads up to {FORMAT}: upgrade.")
    return body


def read(path: Path) -> dict[str, Any]:
    """Document of a file; see :func:`unseal`."""
    try:
        if path.stat().st_size > _LONGEST:
            raise StoreDamaged(f"{path} is damaged: it is longer than {_LONGEST:,} bytes. Restore it from a backup.")
        return unseal(path.read_bytes(), path)
    except OSError as error:
        raise StoreDamaged(f"{path} cannot be read: {error}. Restore it from a backup.") from error


def write(path: Path, content: bytes) -> None:
    """Write a new file and make its bytes durable; its name is durable when its folder is."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, content: bytes) -> None:
    """Put a file in place of another in one step: a reader sees the old one or the new one.

    Raises
    ------
    OperationError
        If the disk does not take it; the old one stands.
    """
    begun = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        write(begun, content)
        begun.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error}. Look at the folder and the disk.") from error
    finally:
        begun.unlink(missing_ok=True)


def _rendered(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, allow_nan=False) + "\n").encode()


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_rendered(body)).hexdigest()
