"""The estimator as bytes, and back: the only place of the package that unpickles.

Unpickling runs whatever the bytes say. So they are loaded only when their digest is the recorded one; what was hashed
is what is loaded, and it is unpacked no further than to the recorded size. A digest tells damage and a swapped file; it
does not tell who wrote the folder: whoever may write to a store's home may run code in what serves from it.
"""

import hashlib
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featurestore.errors import MissingExtra, OperationError, RequestError, StoreDamaged

_COMPRESSION = 3  # smaller by a factor of three or four, and zlib's own check sees damage too


def require() -> None:
    """Raise MissingExtra unless scikit-learn and joblib are installed."""
    try:
        import joblib  # noqa: F401 - asked for, not used
        import sklearn  # noqa: F401 - as above
    except ImportError as error:
        raise MissingExtra(f"Models need scikit-learn and joblib ({error}): pip install featurestore[ml]") from error


def dump(estimator: Any) -> bytes:
    """Bytes of a fitted estimator.

    Raises
    ------
    RequestError
        If a part of it cannot be pickled.
    """
    import joblib

    buffer = io.BytesIO()
    try:
        joblib.dump(estimator, buffer)
    except Exception as error:  # whatever its parts raise when they are pickled
        raise RequestError(f"The estimator cannot be saved: {type(error).__name__}: {error}") from error
    return zlib.compress(buffer.getvalue(), _COMPRESSION)


def sizes(content: bytes) -> dict[str, Any]:
    """What is recorded of such bytes: ``sha256`` (hex), ``size``, and ``unpacked``, the size of what is unpickled."""
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "unpacked": len(zlib.decompress(content)),
    }


def load(content: bytes, recorded: Mapping[str, Any], path: Path) -> Any:
    """Estimator of bytes that are as :func:`sizes` recorded them; ``path`` is for words.

    Raises
    ------
    StoreDamaged
        If they are not: nothing of them was unpickled, nor more memory taken than recorded.
    OperationError
        If they have, but cannot be unpickled here.
    """
    if len(content) != recorded["size"] or hashlib.sha256(content).hexdigest() != recorded["sha256"]:
        raise _damaged(path, f"bytes that do not match the manifest's digest ({recorded['size']} bytes)")
    unpacked = _unpacked(content, recorded["unpacked"], path)
    import joblib

    try:
        return joblib.load(io.BytesIO(unpacked))
    except Exception as error:  # whatever its parts raise when they are unpickled
        raise OperationError(
            f"{path} is intact but cannot be loaded here: {type(error).__name__}: {error}. Install what it was trained "
            "with, or train a new version."
        ) from error


def _unpacked(content: bytes, size: int, path: Path) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        made = unpacking.decompress(content, size + 1)
    except (zlib.error, MemoryError) as error:
        raise _damaged(path, f"it cannot be unpacked to {size} bytes ({type(error).__name__})") from error
    if len(made) != size or not unpacking.eof:
        raise _damaged(path, f"it does not unpack to the {size} bytes that the manifest says")
    return made


def _damaged(path: Path, what: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path} is damaged: {what}. Nothing of it was loaded. Restore it from a backup, or roll back to another "
        "version."
    )
