import collections
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore.errors import NewerFormat, NotMaterialized, OperationError, SchemaChanged, StoreBusy, StoreDamaged
from featurestore.log import KNOWN_AT, PART, POSITION, EventLog, Kind, Load, PartRecord, upkeep
from featurestore.log.segments import SYSTEM

SCHEMA = pa.schema([("customer_id", pa.string()), ("amount", pa.float64())])
SORT = [("customer_id", "ascending"), ("amount", "ascending")]


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path)


def rows(*amounts: float, positions: list[int] | None = None) -> pa.Table:
    table = pa.table({"customer_id": ["a"] * len(amounts), "amount": [*amounts]}, schema=SCHEMA)
    table = table.append_column(KNOWN_AT, pa.array([1000] * len(amounts), SYSTEM[KNOWN_AT]))
    return table if positions is None else table.append_column(POSITION, pa.array(positions, pa.int64()))


def bulk(log: EventLog, position: int, *amounts: float, kind: Kind = "bulk", part: str = "a.csv", at: int = 0) -> Load:
    load = log.begin(kind, at=at)
    load.add("payments", rows(*amounts), origin="bulk", part=part)
    load.add_part("payments", part, 10, 20, "digest", len(amounts))
    load.publish(position)
    return load


def takeover(log: EventLog, *amounts: float, positions: list[int]) -> None:
    load = log.begin("takeover", at=0)
    load.add("payments", rows(*amounts, positions=positions), origin="ingest")
    load.publish(max(positions))


def amounts(log: EventLog, position: int | None = None, part: str | None = None) -> list[float]:
    table = log.read("payments", schema=SCHEMA, columns=["amount"], position=position, part=part)
    found: list[float] = table.column("amount").to_pylist()
    return found


def files(log: EventLog) -> set[str]:
    return {path.name for path in log.folder.glob("segments/*/*")}


def test_a_new_log_is_empty(log: EventLog) -> None:
    assert (log.position, log.taken_over, log.rows("payments"), log.loaded("payments")) == (0, 0, 0, False)
    assert log.read("payments", schema=SCHEMA).to_pydict() == {
        "customer_id": [],
        "amount": [],
        KNOWN_AT: [],
        POSITION: [],
        PART: [],
    }


def test_a_load_is_seen_only_when_it_is_published(log: EventLog) -> None:
    load = log.begin("bulk", at=0)
    load.add("payments", rows(1.0, 2.0), origin="bulk", part="a.csv")
    load.prepare()
    assert (log.rows("payments"), log.position) == (0, 0)
    load.publish(5)
    assert (amounts(log), log.position, log.loaded("payments")) == ([1.0, 2.0], 5, True)


def test_a_discarded_load_leaves_nothing(log: EventLog) -> None:
    load = log.begin("bulk", at=0)
    load.add("payments", rows(1.0), origin="bulk", part="a.csv")
    load.prepare()
    load.discard()
    assert (files(log), log.unfinished(), log.parts("payments")) == (set(), [], {})
    with pytest.raises(OperationError, match="not prepared any more"):
        load.publish(1)


def test_a_published_load_cannot_be_published_or_discarded_again(log: EventLog) -> None:
    load = bulk(log, 1, 1.0)
    with pytest.raises(OperationError, match="is published, not prepared"):
        load.publish(2)
    with pytest.raises(OperationError, match="is published"):
        load.discard()
    assert amounts(log) == [1.0]


def test_rows_of_later_positions_are_left_out(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    takeover(log, 2.0, 3.0, positions=[2, 4])
    bulk(log, 5, 4.0, part="b.csv")
    assert [amounts(log, position) for position in (0, 1, 3, 4, 5)] == [
        [],
        [1.0],
        [1.0, 2.0],
        [1.0, 2.0, 3.0],
        [1.0, 2.0, 3.0, 4.0],
    ]
    assert [log.rows("payments", position) for position in (0, 1, 3, 4, 5)] == [0, 1, 2, 3, 4]
    assert log.read("payments", columns=[POSITION]).column(POSITION).to_pylist() == [1, 2, 4, 5]


def test_a_takeover_says_up_to_where_the_journal_is_in_segments(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    takeover(log, 2.0, 3.0, positions=[2, 4])
    assert (log.taken_over, log.position) == (4, 4)
    assert log.read("payments", columns=["amount"], origin="ingest").column("amount").to_pylist() == [2.0, 3.0]
    assert log.read("payments", columns=["amount"], origin="bulk").column("amount").to_pylist() == [1.0]


def test_a_takeover_without_positions_is_refused(log: EventLog) -> None:
    load = log.begin("takeover", at=0)
    with pytest.raises(SchemaChanged, match="needs column __position of type int64, not nothing"):
        load.add("payments", rows(1.0), origin="ingest")


def test_a_load_of_no_rows_counts_as_loaded(log: EventLog) -> None:
    load = log.begin("bulk", at=0)
    load.add("payments", rows(), origin="bulk", part="a.csv")
    load.publish(1)
    assert (log.loaded("payments"), log.segments("payments")) == (True, [])


def test_a_part_is_remembered_once_with_its_newest_state(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    load = log.begin("bulk", at=0)
    load.add_part("payments", "a.csv", 11, 21, "other", 2)
    load.prepare()
    assert log.parts("payments") == {"a.csv": PartRecord("a.csv", 10, 20, "digest", 1)}
    load.publish(2)
    assert log.parts("payments") == {"a.csv": PartRecord("a.csv", 11, 21, "other", 2)}


def test_quarantined_rows_are_counted_and_read_when_published(log: EventLog) -> None:
    load = log.begin("bulk", at=0)
    bad = [{"file": "a.csv", "row": 3, "column": "amount", "rule": "ge=0", "value": -1.5}]
    load.add_quarantined("payments", bad)
    load.prepare()
    assert log.quarantined("payments") == []
    load.publish(1)
    assert log.quarantined("payments") == bad
    assert (log.quarantined_count("payments"), log.quarantined_count("refunds")) == (1, 0)


def test_a_rebuild_replaces_bulk_rows_and_keeps_ingested_ones(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    takeover(log, 2.0, positions=[2])
    bulk(log, 3, 10.0, kind="rebuild", part="b.csv", at=77)
    assert sorted(amounts(log)) == [2.0, 10.0]
    assert list(log.parts("payments")) == ["b.csv"]
    assert (log.oldest_position("payments"), log.rebuilt_at("payments"), log.oldest_position("refunds")) == (3, 77, 0)


def test_positions_before_a_rebuild_cannot_be_read_again(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    bulk(log, 3, 10.0, kind="rebuild")
    assert amounts(log, 3) == [10.0]
    with pytest.raises(NotMaterialized, match=r"'payments' was rebuilt at position 3.*at position 2 is no more"):
        amounts(log, 2)


def test_a_rebuild_leaves_other_sources_alone(log: EventLog) -> None:
    load = log.begin("bulk", at=0)
    load.add("refunds", rows(7.0), origin="bulk", part="r.csv")
    load.publish(1)
    bulk(log, 2, 10.0, kind="rebuild")
    assert log.read("refunds", columns=["amount"], position=1).column("amount").to_pylist() == [7.0]


def test_compaction_keeps_every_row_with_its_position_and_part(log: EventLog) -> None:
    for number in range(1, 10):
        bulk(log, number, float(9 - number), 0.5, part=f"{number}.csv")
    takeover(log, 3.0, 2.0, positions=[10, 11])
    takeover(log, 1.0, positions=[12])
    before = collections.Counter(tuple(row.values()) for row in log.read("payments").to_pylist())
    assert log.compact("payments", SORT, at=0) == 11
    assert before == collections.Counter(tuple(row.values()) for row in log.read("payments").to_pylist())
    assert [segment.origin for segment in log.segments("payments")] == ["bulk", "ingest"]
    assert log.read("payments", columns=["amount"], origin="ingest").column("amount").to_pylist() == [1.0, 2.0, 3.0]


def test_position_and_part_still_select_after_compaction(log: EventLog) -> None:
    bulk(log, 1, 3.0, part="a.csv")
    bulk(log, 2, 2.0, part="b.csv")
    bulk(log, 3, 1.0, part="c.csv")
    assert log.compact("payments", SORT, at=0, force=True) == 3
    assert (amounts(log, 2), amounts(log, part="b.csv"), amounts(log)) == ([2.0, 3.0], [2.0], [1.0, 2.0, 3.0])
    assert (log.rows("payments", 2), log.position) == (2, 3)


@pytest.mark.parametrize("in_memory_bytes", [0, 1 << 20])
def test_segments_are_sorted_alike_in_memory_and_on_disk(log: EventLog, tmp_path: Path, in_memory_bytes: int) -> None:
    load = log.begin("bulk", at=0)
    for part, names, numbers in (("a.csv", ["b", None], [1.0, 2.0]), ("b.csv", ["a", "b", "a"], [3.0, None, 4.0])):
        table = pa.table({"customer_id": names, "amount": numbers}, schema=SCHEMA)
        known_at = pa.array([1000] * len(names), SYSTEM[KNOWN_AT])
        load.add("payments", table.append_column(KNOWN_AT, known_at), origin="bulk", part=part)
    load.publish(3)
    sort = [("customer_id", "ascending"), ("amount", "descending")]
    parts = upkeep.merged(log.segments("payments"), SCHEMA, sort, tmp_path / "it's", in_memory_bytes=in_memory_bytes)
    table = pa.concat_tables(part.select(["customer_id", "amount", PART, POSITION]) for part in parts)
    assert [tuple(row.values()) for row in table.to_pylist()] == [
        (None, 2.0, "a.csv", 3),
        ("a", 4.0, "b.csv", 3),
        ("a", 3.0, "b.csv", 3),
        ("b", None, "b.csv", 3),
        ("b", 1.0, "a.csv", 3),
    ]


@pytest.mark.parametrize("in_memory_bytes", [0, 1 << 20])
def test_a_damaged_segment_is_named_when_it_is_merged(log: EventLog, tmp_path: Path, in_memory_bytes: int) -> None:
    bulk(log, 1, 1.0)
    old = log.segments("payments")
    old[0].path.unlink()
    with pytest.raises(StoreDamaged, match=old[0].path.name):
        list(upkeep.merged(old, SCHEMA, SORT, tmp_path / "spill", in_memory_bytes=in_memory_bytes))


def test_few_segments_are_left_as_they_are(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    bulk(log, 2, 2.0)
    assert log.compact("payments", SORT, at=0) == 0
    assert len(log.segments("payments")) == 2


def test_compaction_of_a_damaged_segment_changes_nothing(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    bulk(log, 2, 2.0)
    damaged = log.segments("payments")[0].path
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(StoreDamaged, match=damaged.name):
        log.compact("payments", SORT, at=0, force=True)
    assert (len(log.segments("payments")), len(files(log)), log.unfinished()) == (2, 2, [])


def test_columns_that_older_segments_lack_are_null_after_compaction_too(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    load = log.begin("bulk", at=0)
    load.add("payments", rows(2.0).append_column("merchant", pa.array(["m"])), origin="bulk", part="b.csv")
    load.publish(2)
    assert log.read("payments", columns=["merchant"]).column("merchant").to_pylist() == [None, "m"]
    log.compact("payments", SORT, at=0, force=True)
    assert log.read("payments", columns=["merchant"]).column("merchant").to_pylist() == [None, "m"]


def test_compaction_keeps_a_column_that_the_schema_has_lost(log: EventLog) -> None:
    load = log.begin("bulk", at=0)
    load.add("payments", rows(1.0).append_column("merchant", pa.array(["m"])), origin="bulk", part="a.csv")
    load.publish(1)
    bulk(log, 2, 2.0)
    log.compact(
        "payments",
        [*SORT, ("city", "ascending")],
        at=0,
        schema=SCHEMA.append(pa.field("city", pa.string())),
        force=True,
    )
    assert log.read("payments", columns=["amount", "merchant", "city"]).to_pylist() == [
        {"amount": 1.0, "merchant": "m", "city": None},
        {"amount": 2.0, "merchant": None, "city": None},
    ]


def test_events_of_a_prepared_load_are_read_by_its_name_alone(log: EventLog) -> None:
    load = log.begin("bulk", at=0)
    load.add("payments", rows(1.0), origin="bulk", part="a.csv")
    load.prepare()
    assert log.read_prepared(load.id, "payments", schema=SCHEMA, columns=["amount"])["amount"].to_pylist() == [1.0]
    assert (log.rows("payments"), len(log.read_prepared("other", "payments", schema=SCHEMA, columns=["amount"]))) == (
        0,
        0,
    )


def test_damaged_files_can_be_left_out(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    bulk(log, 2, 2.0)
    log.segments("payments")[0].path.unlink()
    assert log.read("payments", schema=SCHEMA, columns=["amount"], undamaged=True)["amount"].to_pylist() == [2.0]


def test_retired_files_stay_for_another_load_and_a_minute(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    bulk(log, 2, 2.0)
    log.compact("payments", SORT, at=1_000_000, force=True)
    assert log.collect_garbage(at=100_000_000) == 0  # no load since
    bulk(log, 3, 3.0)
    assert log.collect_garbage(at=60_999_999) == 0  # not yet a minute
    assert log.collect_garbage(at=61_000_000) == 2
    assert (amounts(log), log.verify()) == ([1.0, 2.0, 3.0], 2)


def test_torn_files_are_ignored_and_collected(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    running = log.begin("bulk", at=0)
    running.add("payments", rows(2.0), origin="bulk", part="b.csv")
    folder = log.folder / "segments" / "payments"
    for name in ("0123-0.tmp", "0123-1.parquet"):
        (folder / name).write_bytes(b"PAR1")
    assert amounts(log) == [1.0]
    assert log.collect_garbage(at=0) == 2
    running.publish(2)
    assert amounts(log) == [1.0, 2.0]


def test_a_flipped_byte_is_found_by_verify(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    takeover(log, 2.0, positions=[2])
    assert log.verify() == 2
    path = log.segments("payments")[1].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=rf"{path.name} \(1 ingest rows\).*rebuild.*backup"):
        log.verify()


@pytest.mark.parametrize("at", [-1, 60])
def test_a_file_damaged_after_it_was_read_is_found_by_the_next_read(log: EventLog, at: int) -> None:
    bulk(log, 1, 1.0)
    assert amounts(log) == [1.0]
    path = log.segments("payments")[0].path
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))
    with pytest.raises(StoreDamaged, match=path.name):
        amounts(log)


def test_a_newer_format_is_refused_in_words(log: EventLog, tmp_path: Path) -> None:
    connection = sqlite3.connect(log.folder / "catalogue.sqlite")
    connection.execute("UPDATE meta SET value = 9 WHERE name = 'format'")
    connection.commit()
    connection.close()
    with pytest.raises(NewerFormat, match="has format 9; this version of featurestore reads up to 1"):
        EventLog(tmp_path)


def test_a_catalogue_that_is_none_is_reported_as_damaged(log: EventLog, tmp_path: Path) -> None:
    (log.folder / "catalogue.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(StoreDamaged, match=r"catalogue.sqlite.*Restore it from a backup"):
        EventLog(tmp_path)


def test_a_lost_catalogue_is_not_replaced_by_an_empty_one(log: EventLog, tmp_path: Path) -> None:
    bulk(log, 1, 1.0)
    (log.folder / "catalogue.sqlite").unlink()
    with pytest.raises(StoreDamaged, match="but there are segments"):
        EventLog(tmp_path)


def test_any_tool_can_read_a_segment(log: EventLog) -> None:
    bulk(log, 1, 1.0)
    table = pq.read_table(log.segments("payments")[0].path)
    assert table.column_names == ["customer_id", "amount", KNOWN_AT, PART]


def test_the_lock_is_reentrant_in_its_thread(log: EventLog) -> None:
    with log.lock(what="outer"), log.lock(what="inner", timeout_s=0):
        bulk(log, 1, 1.0)
    with log.lock(timeout_s=0):
        assert amounts(log) == [1.0]


def test_the_lock_excludes_other_threads_and_other_objects(log: EventLog, tmp_path: Path) -> None:
    said: list[str] = []

    def enter(other: EventLog) -> None:
        with pytest.raises(StoreBusy) as caught, other.lock(what="load", timeout_s=0):
            pass
        said.append(str(caught.value))

    with log.lock(what="materialize"):
        for other in (log, EventLog(tmp_path)):
            thread = threading.Thread(target=enter, args=(other,))
            thread.start()
            thread.join()
    assert len(said) == 2
    assert all(f"held by process {os.getpid()} (materialize, since " in text for text in said)


WRITERS = """
import os, sys
from pathlib import Path
import pyarrow as pa
from featurestore.log import EventLog, KNOWN_AT

def write(log, last):
    with log.lock(what="write in a child"):
        print('started', os.getpid(), flush=True)
        position = log.position
        while position < last:
            position += 1
            load = log.begin("bulk", at=position)
            for part in "ab":
                known_at = pa.array([position] * 3, pa.timestamp("us", tz="UTC"))
                table = pa.table({"amount": pa.array([float(position)] * 3), KNOWN_AT: known_at})
                load.add("payments", table, origin="bulk", part=part)
                load.add_part("payments", part, position, position, str(position), 3)
            load.prepare()
            load.publish(position)
            print('published', position, flush=True)
        sys.stdin.readline()

for line in sys.stdin:
    child = os.fork()
    if not child:
        write(EventLog(Path(sys.argv[1])), int(line))
        os._exit(0)
    print('ended', os.waitpid(child, 0)[1], flush=True)
"""
"""Forks a writer per line of input, which holds the lock until it reads another; says what each does."""


class Writers:
    """Processes that write to a log, one after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.input, self.output = process, process.stdin, process.stdout

    def say(self, line: object = "") -> None:
        print(line, file=self.input, flush=True)

    def hear(self, word: str) -> int:
        return next(int(line.split()[1]) for line in self.output if line.startswith(word))

    def start(self, *, last: int) -> int:
        self.say(last)
        return self.hear("started")

    def kill(self, process_id: int, *, after_s: float = 0.0) -> None:
        with pytest.raises(subprocess.TimeoutExpired):
            self.process.wait(after_s)
        os.kill(process_id, signal.SIGKILL)
        assert self.hear("ended") == signal.SIGKILL


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Writers]:
    command = [sys.executable, "-u", "-c", WRITERS, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Writers(process)


def test_a_lock_held_by_another_process_names_it_and_ends_with_it(log: EventLog, writers: Writers) -> None:
    holder = writers.start(last=0)
    with pytest.raises(StoreBusy, match=rf"held by process {holder} \(write in a child, since "), log.lock(timeout_s=0):
        pass
    writers.kill(holder)
    with log.lock(timeout_s=0):
        bulk(log, 1, 1.0)
    assert amounts(log) == [1.0]


def test_another_process_sees_what_this_one_publishes(log: EventLog, writers: Writers) -> None:
    bulk(log, 1, 1.0)
    writers.start(last=3)
    writers.say()
    assert writers.hear("ended") == 0
    assert amounts(log) == [1.0, *[2.0] * 6, *[3.0] * 6]
    assert log.parts("payments")["a"].digest == "3"


def test_a_kill_at_any_moment_leaves_the_state_before_or_after_a_load(log: EventLog, writers: Writers) -> None:
    moments = random.Random(7)
    for _ in range(10):
        writer = writers.start(last=1_000_000)
        for _ in range(moments.randrange(3)):
            writers.hear("published")
        writers.kill(writer, after_s=moments.uniform(0.0, 0.03))
        assert amounts(log) == [float(number) for number in range(1, log.position + 1) for _ in range(6)]
        with log.lock(timeout_s=0):
            for load in log.unfinished():
                if load.state == "prepared" and moments.random() < 0.5:
                    load.publish(log.position + 1)
                else:
                    load.discard()
            log.collect_garbage(at=0)
        assert files(log) == {segment.path.name for segment in log.segments("payments")}
        assert log.verify() == 2 * log.position
        assert {part.size for part in log.parts("payments").values()} == ({log.position} if log.position else set())
    assert log.position > 0
