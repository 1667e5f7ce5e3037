"""What a store holds: positions, events of each source, online views. For the command line and for the health page."""

from typing import Any

from featurestore import times
from featurestore.plan import compile_service
from featurestore.store import FeatureStore


def status(store: FeatureStore) -> dict[str, Any]:
    """Count what is there, as one document; instants are ISO 8601 text, in UTC."""
    log, registry = store.log, store.registry
    online, filled = store.online.state(), store.online.views()
    plans = [compile_service(service, registry.outputs) for service in registry.services.values()]
    return {
        "home": store.home,
        "position": online.position,
        "log_position": log.position,
        "taken_over": log.taken_over,
        "waiting": sum(1 for _ in store.online.journal(log.taken_over)),
        "unapplied": len(store.plan()),
        "sources": [
            {
                "source": name,
                "rows": log.rows(name),
                "segments": len(log.segments(name)),
                "bytes": sum(one.size for one in log.segments(name)),
                "files": len(log.parts(name)),
                "quarantined": log.quarantined_count(name),
            }
            for name in registry.sources
        ],
        "views": [
            {
                "view": name,
                "filled": name in filled and filled[name].complete,
                "runs": len(filled[name].runs) if name in filled else 0,
                "since": _instant(filled[name].horizon) if name in filled else None,
            }
            for name in dict.fromkeys([*(view.name for plan in plans for view in plan.views), *filled])
        ],
        "training_sets": len(store.training_sets()),
    }


def _instant(micros: int | None) -> str | None:
    return None if micros is None else times.isoformat(micros)
