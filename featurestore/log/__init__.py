"""The event log: immutable Parquet segments and a small SQLite catalogue that says which of them count."""

from featurestore.log.catalogue import PartRecord
from featurestore.log.event_log import EventLog
from featurestore.log.groups import Group, Keys, keys_of
from featurestore.log.load import Kind, Load
from featurestore.log.segments import KNOWN_AT, PART, POSITION, Origin, Segment
from featurestore.log.shelf import Shelf

__all__ = [
    "KNOWN_AT",
    "PART",
    "POSITION",
    "EventLog",
    "Group",
    "Keys",
    "Kind",
    "Load",
    "Origin",
    "PartRecord",
    "Segment",
    "Shelf",
    "keys_of",
]
