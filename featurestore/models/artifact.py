"""The estimator as bytes, and back: the only place of the package that unpickles.

Unpickling runs whatever the bytes say. So they are loaded only when their digest is the recorded one, and what was
hashed is what is loaded. A digest tells damage and a swapped file; it does not tell who wrote the folder: whoever may
write to a store's home may run code in the processes that serve from it.
"""

import hashlib
import io
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
        joblib.dump(estimator, buffer, compress=_COMPRESSION)
    except Exception as error:  # whatever its parts raise when they are pickled
        raise RequestError(f"The estimator cannot be saved: {type(error).__name__}: {error}") from error
    return buffer.getvalue()


def load(content: bytes, *, sha256: str, size: int, path: Path) -> Any:
    """Estimator of bytes that have this size and SHA-256 (hex); ``path`` is for words.

    Raises
    ------
    StoreDamaged
        If they have not: nothing of them was unpickled.
    OperationError
        If they have, but cannot be unpickled here.
    """
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        raise StoreDamaged(
            f"{path} is damaged: {len(content)} bytes that do not match the manifest's digest ({size} bytes). Nothing "
            "of it was loaded. Restore it from a backup, or roll back to another version."
        )
    import joblib

    try:
        return joblib.load(io.BytesIO(content))
    except Exception as error:  # whatever its parts raise when they are unpickled
        raise OperationError(
            f"{path} is intact but cannot be loaded here: {type(error).__name__}: {error}. Install what it was trained "
            "with, or train a new version."
        ) from error
