"""What made something, beside its inputs: versions of libraries, platform, the commit of the code."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIBRARIES = ("featurestore", "numpy", "pandas", "pyarrow", "duckdb", "pydantic")


def environment() -> dict[str, str]:
    """Versions and platform that values of platform functions such as ``exp`` depend on (S13)."""
    versions = {"python": platform.python_version(), "platform": f"{platform.system()}-{platform.machine()}"}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = "unknown"
    return versions


def git_commit(root: Path) -> str | None:
    """Commit of the folder's work tree, with ``+changes`` if it has any; ``None`` without git."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words

    try:
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changes else "")
