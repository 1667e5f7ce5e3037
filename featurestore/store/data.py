"""Data in: loads, ingested events, and what is forgotten."""

from collections.abc import Sequence
from typing import Any

from featurestore import (
    arrivals,
    filling,
    forget,
    ingest,
    materialize,
)
from featurestore.definition import Entity, OnInvalid
from featurestore.forget import Erased
from featurestore.ingest import Ingested
from featurestore.materialize import Materialized
from featurestore.store.home import Progress
from featurestore.store.learning import Learning


class Data(Learning):
    """Data in: loads, ingested events, and what is forgotten."""

    def materialize(
        self,
        history: bool = False,  # noqa: FBT001, FBT002 - the signature that users have
        *,
        rebuild: bool = False,
        online: bool = True,
        on_invalid: OnInvalid | None = None,
        progress: Progress = lambda text: None,  # noqa: ARG005 - named for who reads the signature
    ) -> Materialized:
        """Load new source rows into the event log and the online store. Repeatable; a kill leaves the old state.

        A source's first load is history, a later one arrives now (S2) unless ``history``. ``rebuild`` reads all
        sources anew and keeps what was ingested; rows that were there before keep their known_at, unless ``history``.
        ``on_invalid`` overrides the sources' own.

        Without ``online`` the log alone is loaded, which is all that training sets need, in two thirds of the time.
        Lookups of the sources that had new rows are refused until a call with it, which fills the online store from
        the log.

        Raises
        ------
        DataError
            If rows are invalid, conflict with the log or cannot be read; then nothing has changed.
        StoreBusy
            If another process is loading.
        """
        sources = tuple(self.registry.sources.values())
        with self._writing("materialize"):
            given = self.root, self._stamp(), self.now, self._forgotten, self._memory
            terms = arrivals.Terms(*given, history, on_invalid, rebuild, online)
            wanted = filling.wanted(self._reaches(), terms.stamp, self._retain)
            return materialize.materialize(sources, wanted, self.log, self.online, terms, progress=progress)

    def ingest(self, source: str, rows: Any) -> Ingested:
        """Append events: validated by the schema, durable and visible when it returns; all of them, or none.

        ``rows`` is a dict, a list of dicts or model instances, or a frame.

        Raises
        ------
        InvalidRows
            If a row is against the schema; it names all of them.
        ConflictingRows
            If a known key comes with another payload (S6).
        """
        (done,) = self.ingest_each(source, [rows])
        if isinstance(done, Exception):
            raise done
        return done

    def ingest_each(self, source: str, requests: Sequence[Any]) -> list[Ingested | Exception]:
        """Append what several callers send, lists of rows, together: durable and visible at one position.

        Each is taken whole or refused as by :meth:`ingest`: instead of what it did there is then what it would raise.
        """
        found = self.registry.source(source)
        views = [view for view, _ in self._reaches().values() if view.source.name == found.name]
        return ingest.ingest(found, views, requests, self.log, self.online, self.now(), self._forgotten, self._opened)

    def forget(self, entity: Entity | str, key: Any) -> Erased:
        """Erase an entity's events everywhere, and keep it out of later loads and ingests (S16).

        Training sets and models that contain it are named and stay. The positions of other events stay as they are;
        ``verify`` calls what has become different since "erased". Forgetting again finishes what was cut short.

        Parameters
        ----------
        entity
            Entity, or its name.
        key
            Its key: one value, or for a composite key a tuple in the entity's order, or a dict.

        Raises
        ------
        RequestError
            If there is no such entity, or the key is none of it.
        StoreBusy
            If another process is loading.
        """
        found = self._entity(entity)
        given = forget.key_of(found, key)
        sources = self._holding(found)
        columns = forget.columns_of(given, self.key_kinds(found))
        with self._writing(f"forget one {found.name}"):
            at = self._stamp()
            self._forgotten.add(found, forget.text_of(columns), [one.name for one in sources], at=at)
            materialize.recover(self.log, self.online)
            ingest.take_over(tuple(self.registry.sources.values()), self.log, self.online, at)
            wanted = filling.wanted(self._reaches(), at, self._retain)
            events = forget.erase(sources, wanted, self.log, self.online, self._forgotten, at=at, memory=self._memory)
        sets = [name for name in self.training_sets() if forget.contains(self.load_training_set(name), given)]
        models = [f"{one.name}@{one.version}" for one in self.models() if one.manifest["training_set"]["name"] in sets]
        asked = sum(all(row.inputs.get(name) == one for name, one in given.items()) for row in self.served_log.rows())
        return Erased(events, tuple(sets), tuple(models), asked)
