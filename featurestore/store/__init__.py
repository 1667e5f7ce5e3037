"""``FeatureStore``: composes the parts, computes nothing. Each file here is one group of its methods."""

from pathlib import Path

from featurestore import settings, times
from featurestore.monitoring.recorder import Keeping
from featurestore.store.data import Data
from featurestore.store.declared import Declared
from featurestore.store.proof import Proof


class FeatureStore(Declared, Data, Proof):
    """A feature store in one folder: declarations, event log, online store, training sets.

    Parameters
    ----------
    definitions
        Module, folder, file or list of declarations.
    home
        Folder of the store's own files; made if it is not there.
    clock
        Gives now, as a datetime (naive is UTC) or integer microseconds UTC; by default the machine's.
    root
        Where relative paths of sources start; by default the working directory.
    retain
        How far back a lookup's ``as_of`` may lie (``"7d"``); the online store drops what no such lookup needs. By
        default it keeps all.
    keeping
        How much a server keeps of what it serves.
    memory
        How much memory a training set may take while it is built, bytes; by default half of what the machine, or its
        container, has. More data than that is worked on in parts.

    Raises
    ------
    DefinitionProblems
        If anything is wrong with the declarations: all problems at once.
    """

    @classmethod
    def open(cls, root: str | Path = ".", *, clock: times.Clock | None = None) -> "FeatureStore":
        """Open a project folder's store, by ``[tool.featurestore]`` in its pyproject.toml and ``FEATURESTORE_*``."""
        folder = Path(root).resolve()
        found = settings.load(folder)
        retain = None if found["retain"] is None else times.format_duration(found["retain"])
        keeping = Keeping(found["served_sample"], found["served_retain"], found["served_max_mb"])
        kept = {"retain": retain, "keeping": keeping, "memory": found["memory"]}
        return cls(found["definitions"], found["home"], clock=clock, root=folder, **kept)
