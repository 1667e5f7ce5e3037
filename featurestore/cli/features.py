"""Commands that give features: training-set, training-sets, spine, lookup, explain."""

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from featurestore.cli import asked
from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted, plain
from featurestore.errors import RequestError

TRAINING_INTERRUPTED = "A training set is written whole or not at all: unless `training-sets` lists it, there is none."
_FORMATS = (".parquet", ".csv")


class Immature(StrEnum):
    """What becomes of rows whose label cannot be told yet."""

    DROP = "drop"
    KEEP = "keep"


ServiceName = Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the feature service.")]


def training_set(
    session: Session,
    service: ServiceName,
    spine: Annotated[str, typer.Argument(help="Parquet or CSV file, or SQL: keys, times, request fields, labels.")],
    *,
    time: Annotated[
        str, typer.Option(help="Column of the instants that rows are asked as of; naive is UTC.")
    ] = "event_time",
    name: Annotated[str | None, typer.Option(help="Table name. Default: service and content hash.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Declared label; give it again for several.")] = None,
    immature: Annotated[
        Immature, typer.Option(help="Rows whose label cannot be told yet: leave them out, or keep and mark them.")
    ] = Immature.DROP,
    position: Annotated[int | None, typer.Option(help="Position of the log to see. Default: the newest.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write it to this .parquet or .csv file too.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Write over another training set of that name, and over the output file.")
    ] = False,
) -> Answer:
    """Build a training set: features as of each row's time.

    A table in the store's DuckDB file, and a file if --output names one; rows in the order of the spine.
    """
    if output is not None:
        _check_output(output, replace=replace)
    from featurestore.cli import given
    from featurestore.store import FeatureStore

    with session.progress(f"building a training set of {service}") as progress:
        with FeatureStore.open(session.project) as store:
            made = store.training_set(
                service,
                given.spine_of(spine),
                time=time,
                name=name,
                labels=label or (),
                position=position,
                immature=immature.value,
                replace=replace,
            )
        if output is not None:
            progress(f"writing {output}")
            _write(made.to_arrow(), output)
    document = {**made.manifest, "output": output}
    return Answer(document, _built(document), "training-sets (all of them)")


def training_sets(session: Session) -> Answer:
    """List the training sets, newest last."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        found = list(store.training_sets().values())
    if not found:
        return Answer({"training_sets": []}, ["There are no training sets yet."], "training-set SERVICE SPINE")
    rows = [
        (one["name"], one["service"], one["rows"], len(one["features"]), str(one["position"]), one["created_at"])
        for one in found
    ]
    table = Table(("name", "service", "rows", "features", "position", "created"), rows)
    return Answer({"training_sets": found}, [table], "show SERVICE (what the features are)")


def spine(
    session: Session,
    of: Annotated[str, typer.Argument(metavar="NAME", help="Entity, with --every; else a source.")],
    output: Annotated[Path, typer.Argument(help="The .parquet or .csv file to write.")],
    *,
    every: Annotated[str | None, typer.Option(metavar="DURATION", help="Between an entity's instants: 7d.")] = None,
    start: Annotated[str | None, typer.Option(metavar="INSTANT", help="First instant. Default: all events.")] = None,
    end: Annotated[str | None, typer.Option(metavar="INSTANT", help="Before this instant. Default: newest.")] = None,
    position: Annotated[int | None, typer.Option(help="Position of the log to see. Default: the newest.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over the file.")] = False,
) -> Answer:
    """Write rows to build a training set for, from the log.

    Each entity at regular instants from when it is known, or one row per event of a source.
    """
    _check_output(output, replace=replace)
    from featurestore.store import FeatureStore

    with session.progress(f"making a spine of {of}"):
        with FeatureStore.open(session.project) as store:
            made = store.spine(of, every=every, start=start, end=end, position=position)
        _write(made, output)
    document = {"of": of, "rows": made.num_rows, "columns": made.column_names, "output": output}
    said = f"{counted(made.num_rows, 'row')} of {', '.join(made.column_names)}, written to {output}."
    return Answer(document, [said], f"training-set SERVICE {output} (features of these rows)")


def lookup(
    session: Session,
    service: ServiceName,
    pairs: asked.Pairs = None,
    *,
    json_row: asked.JsonRow = None,
    as_of: asked.AsOf = None,
) -> Answer:
    """Give the features of one entity, now or at an instant.

    An empty VALUE is null, but for a string: there it is the empty string.
    """
    asked.check(pairs, json_row)
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        vector = store.lookup(service, asked.row(store, service, pairs, json_row), as_of=as_of)
    document = {
        "features": vector.to_dict(),
        "as_of": vector.as_of,
        "position": vector.position,
        "fingerprint": vector.fingerprint,
    }
    table = Table(("feature", "value"), [(name, _exactly(value)) for name, value in vector.items()])
    seen = f"As of {vector.as_of:%Y-%m-%dT%H:%M:%S.%fZ}, position {vector.position:,}."
    return Answer(document, [table, seen], f"training-set {service} SPINE (the same features for many rows)")


def explain(
    session: Session,
    service: ServiceName,
    feature: Annotated[str, typer.Argument(metavar="FEATURE", help="Name of one value of the service.")],
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Entity keys and request fields.", show_default=False),
    ] = None,
    *,
    json_row: Annotated[str | None, typer.Option(metavar="OBJECT", help="The same as one JSON object.")] = None,
    as_of: Annotated[str | None, typer.Option(metavar="INSTANT", help="ISO 8601, naive is UTC. Default: now.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Newest events of a window to show. Default: all.")] = None,
) -> Answer:
    """Show what one value is made of: window edges, events, operands.

    Events of the entity that do not count are listed too, those nearest to the window, each with the reason.
    """
    if (json_row is None) == (not pairs):
        raise typer.BadParameter("Give KEY=VALUE pairs, or --json-row '{...}'.")
    from featurestore.cli import given
    from featurestore.plan import compile_service
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        columns = compile_service(store.registry.service(service), store.registry.outputs).columns
        row = given.row_of(pairs or [], columns) if json_row is None else given.json_row(json_row)
        document = store.explain(service, feature, row, as_of=as_of, limit=limit).to_dict()
    blocks = [block for step in document["steps"] for block in _step(step)]
    seen = f"As of {document['as_of']:%Y-%m-%dT%H:%M:%S.%fZ}, position {document['position']:,}."
    return Answer(document, [*blocks, seen], f"show {document['steps'][0]['feature']} (its code)")


def _step(step: Mapping[str, Any]) -> Iterator[str | Table]:
    """Yield a value, then its operands or its window with a line per event."""
    value = "null" if step["value"] is None else _exactly(step["value"])
    yield f"{step['name']} = {plain(value)}"
    if step["operands"] is not None:
        made = [(name, _exactly(one)) for name, one in step["operands"].items()]
        yield Table(("operand", "value"), made) if made else "  without operands"
        yield ""
        return
    from featurestore.explain import WORDS

    look = step["look"]
    begin = "the beginning" if look["begin"] is None else f"{plain(look['begin'])} (in it)"
    edge = "in it" if look["end_closed"] else "not in it"
    key = ", ".join(f"{name}={plain(_exactly(one))}" for name, one in look["key"].items())
    outside = "".join(f", {count:,} {WORDS[why]}" for why, count in look["outside"].items())
    yield f"  {look['source']} of {look['entity']} {key}, from {begin} to {plain(look['end'])} ({edge})"
    listed = sum(one["why"] is None for one in look["events"])
    cut = f" (the newest {listed:,} are listed)" if listed < look["count"] else ""
    yield f"  {counted(look['count'], 'event')}{cut}{outside}"
    if look["events"]:
        names = list(look["events"][0]["columns"])
        rows = [
            (
                *(plain(one[clock]) for clock in ("event_time", "known_at")),
                *(_exactly(one["columns"][name]) for name in names),
                WORDS.get(one["why"], "counts"),
            )
            for one in look["events"]
        ]
        yield Table(("event_time", "known_at", *names, ""), rows)
    yield ""


def _check_output(output: Path, *, replace: bool) -> None:
    """Before the work, not after it."""
    if output.suffix.lower() not in _FORMATS:
        raise typer.BadParameter(f"--output {output} is named neither .parquet nor .csv.")
    if not output.parent.is_dir():
        raise RequestError(f"There is no folder {output.parent} to write {output.name} to: make it first.")
    if output.exists() and not replace:
        raise RequestError(f"{output} is there already: choose another name, or say --replace.")


def _write(table: Any, output: Path) -> None:
    """Write the file whole or not at all."""
    from pyarrow import csv, parquet

    as_csv = output.suffix.lower() == ".csv"
    table, write = (_with_texts(table), csv.write_csv) if as_csv else (table, parquet.write_table)
    begun = output.with_name(f".{output.name}-{uuid.uuid4().hex}")
    try:
        write(table, begun)
        begun.replace(output)
    finally:
        with contextlib.suppress(FileNotFoundError):
            begun.unlink()


def _with_texts(table: Any) -> Any:
    """Maps as JSON text: a CSV file holds no maps."""
    import pyarrow as pa

    for place, column in enumerate(table.columns):
        if pa.types.is_map(column.type):
            rows = column.to_pylist(maps_as_pydicts="strict")
            texts = [None if row is None else _exactly(row) for row in rows]
            table = table.set_column(place, table.column_names[place], pa.array(texts, pa.string()))
    return table


def _built(made: Mapping[str, Any]) -> list[str | Table]:
    span = f" from {made['time_range'][0]} to {made['time_range'][1]}" if made["time_range"] else ""
    rows = [(one["name"], one["type"], made["nulls"][one["name"]]) for one in made["feature_types"]]
    rows += [(f"{one['name']} (label)", one["type"], one["nulls"]) for one in made["labels"]]
    written = [f"Written to {made['output']}."] if made["output"] else []
    late = made["immature"] and made["immature"]["rows"]
    if late:
        done = "left out" if made["immature"]["how"] == "drop" else "kept, with null and a mark"
        written.insert(0, f"{counted(late, 'row')} whose label cannot be told yet: {done}.")
    return [
        f"Training set {made['name']}: {counted(made['rows'], 'row')}{span}, seen at position {made['position']}.",
        Table(("feature", "type", "nulls"), rows),
        *written,
        f"In Python: store.load_training_set({made['name']!r}).to_pandas()",
    ]


def _exactly(value: Any) -> Any:
    """Numbers as Python writes them: digits are compared here, not read in thousands; a map as JSON."""
    if isinstance(value, Mapping):
        return json.dumps(plain(value), ensure_ascii=False)
    return repr(value) if isinstance(value, (int, float)) else value
