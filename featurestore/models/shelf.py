"""Model versions as folders: ``<home>/models/<name>/<version>/`` with ``pipeline.joblib`` and ``manifest.json``.

A version is written beside its place, made durable, and put there by one rename: it is there whole or not at all, and
never changes after.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featurestore.errors import OperationError, RequestError, StoreDamaged, UnknownService, suggest
from featurestore.log.segments import sync_folder
from featurestore.models import sealed
from featurestore.models.aliases import CHAMPION, Aliases

PIPELINE, MANIFEST = "pipeline.joblib", "manifest.json"
_SAID = (
    "created_at",
    "file",
    "environment",
    "git",
    "training_set",
    "service",
    "task",
    "input",
    "features",
    "label",
    "estimator",
    "metrics",
    "overfit",
    "threshold",
    "golden",
    "facts",
)
_SIZES = ("sha256", "size", "unpacked")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NUMBERED = re.compile(r"v(\d{1,9})")
_TRIES = 100
_INCOMING = ".incoming-"


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """An immutable version of a model: what it is, as its manifest says. Nothing of it has been loaded."""

    name: str
    version: str
    path: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def reference(self) -> str:
        """``name@version``, which names this version wherever a model is asked for."""
        return f"{self.name}@{self.version}"

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it takes, in order."""
        return tuple(one["name"] for one in self.manifest["features"])

    @property
    def metrics(self) -> Mapping[str, Any] | None:
        """Cross-validation: mean and standard deviation of each score, train and test, and the folds."""
        found: Mapping[str, Any] | None = self.manifest["metrics"]
        return found


class Shelf:
    """All versions of all models of a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._aliases: dict[str, Aliases] = {}

    def names(self) -> list[str]:
        """Names of the models, sorted."""
        return sorted(_folders(self.folder, _NAME))

    def versions(self, name: str) -> list[str]:
        """Versions of a model, ``v2`` before ``v10``.

        Raises
        ------
        UnknownService
            If there is no such model.
        """
        found = _folders(self.folder / name, _VERSION) if _NAME.fullmatch(name) else []
        if not found:
            raise UnknownService(f"No model named {name!r}.{suggest(name, self.names())}")
        return sorted(found, key=_natural)

    def read(self, name: str, version: str) -> ModelVersion:
        """Read a version's manifest.

        Raises
        ------
        StoreDamaged
            If it is not as it was written, or is another version's.
        """
        known = self.versions(name)
        if version not in known:
            raise UnknownService(f"Model {name!r} has no version {version!r}.{suggest(version, known)}")
        path = self.folder / name / version
        manifest = sealed.read(path / MANIFEST)
        if (manifest.get("name"), manifest.get("version")) != (name, version):
            raise StoreDamaged(
                f"{path} holds {manifest.get('name')}@{manifest.get('version')}: versions are not moved by hand."
            )
        lacking = [one for one in _SAID if one not in manifest]
        lacking += [f"file.{one}" for one in _SIZES if one not in manifest.get("file", {})]
        if lacking:
            raise StoreDamaged(f"{path / MANIFEST} lacks {', '.join(lacking)}. Restore it from a backup.")
        return ModelVersion(name, version, path, manifest)

    def content(self, version: ModelVersion) -> bytes:
        """Bytes of a version's estimator; of a file that is longer than it was, not all."""
        try:
            with (version.path / PIPELINE).open("rb") as file:
                return file.read(version.manifest["file"]["size"] + 1)
        except OSError as error:
            raise StoreDamaged(f"{version.path / PIPELINE} cannot be read: {error}. Restore it.") from error

    def publish(self, name: str, version: str | None, content: bytes, manifest: Mapping[str, Any]) -> ModelVersion:
        """Put a version on the shelf; by default the next of ``v1``, ``v2``, ...

        Raises
        ------
        RequestError
            If the version is there already.
        """
        home = self.folder / name
        home.mkdir(parents=True, exist_ok=True)
        sync_folder(self.folder)
        with _saving(home):
            for _ in range(_TRIES):
                chosen = version or _next(_folders(home, _VERSION))
                made = {"name": name, "version": chosen, **manifest}
                if self._put(home / chosen, {PIPELINE: content, MANIFEST: sealed.seal(made)}):
                    return self.read(name, chosen)
                if version is not None:
                    raise taken(name, version)
        raise OperationError(f"Others save versions of model {name!r} faster than this can: try again.")

    def aliases(self, name: str) -> Aliases:
        """Aliases of a model."""
        return self._aliases.setdefault(name, Aliases(self.folder / name / "aliases.json"))

    def resolve(self, reference: str) -> tuple[str, str]:
        """Name and version of ``name`` (its champion), ``name@alias`` or ``name@version``.

        Raises
        ------
        UnknownService
            If there is none.
        """
        name, _, asked = reference.partition("@")
        if not _NAME.fullmatch(name):
            raise UnknownService(f"No model named {name!r}.{suggest(name, self.names())}")
        aliases = self.aliases(name).current()
        wanted = asked or CHAMPION
        if wanted in aliases:
            return name, aliases[wanted]
        known = self.versions(name)
        if wanted not in known:
            raise UnknownService(f"Model {name!r} has no alias or version {wanted!r}.{suggest(wanted, known)}")
        return name, wanted

    def _put(self, place: Path, files: Mapping[str, bytes]) -> bool:
        """Whether the version was put there; not if there is one already."""
        begun = place.with_name(f"{_INCOMING}{secrets.token_hex(8)}")
        try:
            begun.mkdir()
            for file, content in files.items():
                sealed.write(begun / file, content)
            sync_folder(begun)
            with contextlib.suppress(OSError):  # one that is there is a folder with files: a rename onto it fails
                begun.rename(place)
            if begun.exists() and not place.exists():
                raise OperationError(f"{place} cannot be written. Look at the folder, its rights and the disk.")
            sync_folder(place.parent)
            return not begun.exists()
        except OSError as error:
            raise OperationError(f"{place} cannot be written: {error}. Look at the folder and the disk.") from error
        finally:
            shutil.rmtree(begun, ignore_errors=True)


@contextlib.contextmanager
def _saving(home: Path) -> Iterator[None]:
    """Hold a model's lock with all others who save; who is alone at first removes what killed ones have left."""
    handle = os.open(home / "saving.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in home.glob(f"{_INCOMING}*"):
                shutil.rmtree(left, ignore_errors=True)
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def check_names(name: str, version: str | None, aliases: Mapping[str, str]) -> None:
    """Refuse names that are no folder's, and versions called like an alias.

    Raises
    ------
    RequestError
        If one is.
    """
    if not _NAME.fullmatch(name):
        raise RequestError(f"{name!r} is no name for a model: small letters, digits and _, at most 63, a letter first.")
    if version is None:
        return
    if not _VERSION.fullmatch(version) or ".." in version:
        raise RequestError(
            f"{version!r} is no name for a version: letters, digits, '.', '_' and '-', at most 63, such as '1.0'."
        )
    if version in {CHAMPION, *aliases}:
        raise RequestError(f"{version!r} is an alias of model {name!r}: choose another name for the version.")


def check_alias(alias: str, versions: list[str]) -> None:
    """Refuse an alias that is no name, or that is called like a version."""
    if not _NAME.fullmatch(alias) or alias in versions:
        raise RequestError(f"{alias!r} is no alias: a name such as 'champion' or 'challenger', and no version's.")


def taken(name: str, version: str) -> RequestError:
    """Build the error of a version that is there already."""
    return RequestError(
        f"Model {name!r} has a version {version!r} already, and versions never change: choose another name, or none."
    )


def _folders(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    if not folder.is_dir():
        return []
    return [one.name for one in folder.iterdir() if pattern.fullmatch(one.name) and one.is_dir()]


def _next(versions: list[str]) -> str:
    numbers = [int(found[1]) for one in versions if (found := _NUMBERED.fullmatch(one))]
    return f"v{max(numbers, default=0) + 1}"


def _natural(version: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", version)]
