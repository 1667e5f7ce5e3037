"""What every online store does: each test runs once per store."""

import string
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from online_workers import VIEW, batch, joining, keyed

from featurestore.errors import ConflictingRows, OperationError
from featurestore.events import IntArray
from featurestore.online import (
    Batch,
    JournalEntry,
    KnownKeys,
    OnlineStore,
    Piece,
    State,
    ViewState,
    sqlite_fresh,
    sqlite_keys,
)
from featurestore.online.keys import merged, worth_merging
from featurestore.online.sqlite import SQLiteStore

FULL = ViewState()
LETTERS = string.ascii_letters
SIGNED = ViewState(source="payments", signature="source payments\nkey customer:str")
OTHER = "source payments\nkey account:str"


@pytest.fixture(
    params=["sqlite", "sqlite, appends moved at once", "sqlite, keys in blocks", "sqlite, blocks moved at once"]
)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnlineStore]:
    if request.param.endswith("moved at once"):
        monkeypatch.setattr(sqlite_fresh, "_MOST", 2)
    if "blocks" in request.param:
        monkeypatch.setattr(sqlite_keys, "_ROW_BY_ROW", 0)
    made: OnlineStore = SQLiteStore(tmp_path / "online.sqlite")
    yield made
    made.close()


def events(store: OnlineStore, entity: str = "c1", since: int | None = None) -> list[bytes]:
    return sorted(blob for blob, _ in store.read({VIEW: [entity]}, {VIEW: since}).blobs[VIEW][0])


def load(store: OnlineStore, name: str, *blobs: bytes, entity: str = "c1") -> None:
    store.begin_load(name)
    store.write_run(name, VIEW, [(entity, 50, blob) for blob in blobs])


def test_a_new_store_is_at_position_zero_and_knows_nobody(store: OnlineStore) -> None:
    assert store.state().position == 0
    assert store.read({VIEW: ["c1", "c2"]}, {}).blobs == {VIEW: [[], []]}
    assert store.views() == {}


def test_an_appended_event_is_in_the_next_read(store: OnlineStore) -> None:
    receipt = store.append("payments", batch("one", now=7))
    assert (receipt.position, receipt.known_at, receipt.kept.tolist(), receipt.duplicates) == (1, 7, [0], 0)
    snapshot = store.read({VIEW: ["c2", "c1"]}, {VIEW: None})
    assert (snapshot.position, snapshot.stamp, snapshot.blobs) == (1, 7, {VIEW: [[], [(b"one", None)]]})


def test_each_append_takes_the_next_position_and_stamps_never_decrease(store: OnlineStore) -> None:
    receipts = [store.append("payments", batch("x", now=now)) for now in (100, 90, 110)]
    assert [receipt.position for receipt in receipts] == [1, 2, 3]
    assert [receipt.known_at for receipt in receipts] == [100, 100, 110]
    assert store.state() == State(3, 110)


def test_a_row_delivered_twice_counts_once(store: OnlineStore) -> None:
    store.append("payments", batch("a", keys=[(1, 11)]))
    receipt = store.append("payments", batch("a", "b", "b", keys=[(1, 11), (2, 22), (2, 22)]))
    assert (receipt.position, receipt.kept.tolist(), receipt.duplicates) == (2, [1], 2)
    assert events(store) == [b"a", b"b"]


def test_a_batch_of_known_rows_changes_nothing(store: OnlineStore) -> None:
    store.append("payments", batch("a", now=5, keys=[(1, 11)]))
    receipt = store.append("payments", batch("a", now=9, keys=[(1, 11)]))
    assert (receipt.position, receipt.kept.tolist(), receipt.duplicates) == (1, [], 1)
    assert store.state() == State(1, 5)


def test_rows_without_a_key_are_never_duplicates(store: OnlineStore) -> None:
    store.append("payments", batch("a", "a", keys=[(None, 11), (None, 11)]))
    assert store.append("payments", batch("a", keys=[(None, 11)])).duplicates == 0
    assert store.append("refunds", batch("a", keys=[(0, 11)])).duplicates == 0
    assert events(store) == [b"a"] * 4


def test_a_known_key_with_another_payload_is_refused_whole(store: OnlineStore) -> None:
    def refuse(rows: IntArray) -> None:
        raise ConflictingRows(f"rows {rows.tolist()}")

    store.append("payments", batch("a", keys=[(1, 11)]))
    rows = batch("new", "changed", "b", "b!", keys=[(9, 99), (1, 12), (2, 21), (2, 22)])
    with pytest.raises(ConflictingRows, match=r"rows \[1, 3\]"):
        store.append("payments", Batch(rows.rows, rows.now, rows.pack, rows.keys, refuse))
    assert events(store) == [b"a"]
    assert store.state().position == 1


def test_keys_that_only_share_a_hash_are_both_kept(store: OnlineStore) -> None:
    store.append("payments", batch("a", keys=[(1, 11)]))
    assert store.append("payments", batch("b", keys=[(1, 12)])).kept.tolist() == [0]
    assert store.append("payments", batch("a", "b", keys=[(1, 11), (1, 12)])).duplicates == 2
    assert store.seen("payments", np.array([1, 5])).payload_hash.tolist() == [11, 12]


def test_the_journal_gives_appends_in_order_and_forgets_what_is_trimmed(store: OnlineStore) -> None:
    for text in ("a", "b", "c"):
        store.append("payments", batch(text, now=3))
    assert [entry.position for entry in store.journal(0)] == [1, 2, 3]
    assert list(store.journal(2)) == [JournalEntry(3, "payments", 3, b"c")]
    store.trim_journal(2)
    assert [entry.payload for entry in store.journal(0)] == [b"c"]
    assert events(store) == [b"a", b"b", b"c"]


def test_a_long_journal_is_given_whole(store: OnlineStore) -> None:
    for number in range(130):
        store.append("payments", batch(str(number)))
    assert [entry.payload for entry in store.journal(0)] == [str(number).encode() for number in range(130)]


def test_a_load_is_seen_when_it_is_published_and_not_before(store: OnlineStore) -> None:
    load(store, "first", b"a", b"b")
    assert (events(store), store.published("first"), store.views()) == ([], None, {})
    state = ViewState(horizon=40, source="payments", signature="as declared")
    assert store.publish_load("first", views={VIEW: state}, stamp=70) == State(1, 70)
    assert events(store) == [b"a", b"b"]
    assert store.state() == State(1, 70)
    found = store.views()[VIEW]
    assert (found.horizon, found.source, found.signature, len(found.runs)) == (40, "payments", "as declared", 1)
    assert store.read({VIEW: ["c1"]}, {}).views == {VIEW: found}


def test_publishing_a_load_again_changes_nothing(store: OnlineStore) -> None:
    load(store, "first", b"a")
    done = store.publish_load("first", views={VIEW: FULL})
    store.append("payments", batch("b"))
    assert store.publish_load("first", views={VIEW: FULL}) == store.published("first") == done
    assert store.state().position == 2
    with pytest.raises(OperationError, match="'first' was published at position 1"):
        store.begin_load("first")


def test_a_load_replaces_runs_and_the_tail_that_it_has_taken_in(store: OnlineStore) -> None:
    load(store, "first", b"a")
    store.publish_load("first", views={VIEW: FULL})
    store.append("payments", batch("b"))
    load(store, "second", b"a+b")
    store.append("payments", batch("c"))
    replaced = store.views()[VIEW].runs
    store.publish_load("second", views={VIEW: FULL}, replaces=replaced, tail_upto=2, advances=False)
    assert store.state().position == 3
    assert events(store) == [b"a+b", b"c"]
    assert store.views()[VIEW].tail_from == 2


def test_arrivals_of_a_load_have_its_stamp_and_what_is_stored_better_has_none(store: OnlineStore) -> None:
    store.begin_load("first")
    store.write_run("first", VIEW, [("c1", 50, b"old")])
    store.write_run("first", VIEW, [("c1", 60, b"new")], arrive=True)
    store.append("payments", batch("meanwhile", now=90))
    assert store.publish_load("first", views={VIEW: FULL}, stamp=80) == State(2, 90)
    found = store.read({VIEW: ["c1"]}, {}).blobs[VIEW][0]
    assert sorted(found) == [(b"meanwhile", None), (b"new", 90), (b"old", None)]


def test_an_abandoned_load_leaves_nothing(store: OnlineStore) -> None:
    load(store, "first", b"a")
    store.abandon("first")
    store.abandon("never begun")
    with pytest.raises(OperationError, match="No load 'first' has begun"):
        store.publish_load("first", views={VIEW: FULL})
    assert events(store) == []


def test_a_load_begun_again_starts_afresh(store: OnlineStore) -> None:
    load(store, "first", b"half")
    load(store, "first", b"whole")
    store.publish_load("first", views={VIEW: FULL})
    assert events(store) == [b"whole"]


def test_one_load_writes_a_view_in_several_calls(store: OnlineStore) -> None:
    store.begin_load("first")
    runs = {store.write_run("first", VIEW, [("c1", 50, blob)]) for blob in (b"a", b"b")}
    store.publish_load("first", views={VIEW: FULL})
    assert store.views()[VIEW].runs == tuple(runs)
    assert events(store) == [b"a", b"b"]


def test_what_is_too_old_is_left_out(store: OnlineStore) -> None:
    store.begin_load("first")
    store.write_run("first", VIEW, [("c1", 10, b"old"), ("c1", 20, b"edge")])
    store.publish_load("first", views={VIEW: FULL})
    store.append("payments", batch("tail", now=30))
    assert events(store, since=20) == [b"edge", b"tail"]
    assert events(store, since=31) == []


def test_keys_of_a_published_load_are_known(store: OnlineStore) -> None:
    store.begin_load("first")
    hashes = np.arange(0, 4000, 2, dtype=np.int64)
    store.write_keys("first", "payments", [KnownKeys(some, some + 7) for some in np.split(hashes, [300, 301])])
    assert len(store.seen("payments", hashes).key_hash) == 0
    store.publish_load("first", views={})
    found = store.seen("payments", np.array([5000, 3998, 1024, 0, 3, -1]))
    assert (found.key_hash.tolist(), found.payload_hash.tolist()) == ([0, 1024, 3998], [7, 1031, 4005])
    assert store.append("payments", batch("x", "y", keys=[(1024, 1031), (1025, 1)])).kept.tolist() == [1]
    assert list(store.key_runs("payments").values()) == [2000]
    assert not store.key_runs("refunds")


def test_keys_are_found_whether_few_are_asked_for_or_many(store: OnlineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.begin_load("first")
    hashes = np.repeat(np.arange(-2000, 2000, 2, dtype=np.int64), 3)
    store.write_keys("first", "payments", [KnownKeys(hashes, np.arange(6000))])
    store.publish_load("first", views={})
    asked = [
        np.arange(low, high) for low, high in ((-2000, -1990), (-7, 900), (1900, 5000), (5000, 5002), (-3000, -2998))
    ]
    few = [store.seen("payments", one) for one in asked]
    monkeypatch.setattr(sqlite_keys, "_ASKED_AT_ONCE", 1)
    many = [store.seen("payments", one) for one in asked]
    assert [one.key_hash.tolist() for one in many] == [hashes[np.isin(hashes, one)].tolist() for one in asked]
    assert [one.payload_hash.tolist() for one in many] == [one.payload_hash.tolist() for one in few]


@pytest.mark.parametrize("blocks", [1, 3, 100])
def test_a_run_gives_its_keys_in_parts(store: OnlineStore, monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    monkeypatch.setattr(sqlite_keys, "_BLOCKS_AT_ONCE", blocks)
    drawn = np.random.default_rng(3).integers(-(2**63), 2**63, 2000)
    hashes = np.sort(np.concatenate([drawn, drawn[:300], [-(2**63), 2**63 - 1]]))
    store.begin_load("first")
    store.write_keys(
        "first", "payments", [KnownKeys(hashes[:700], hashes[:700] // 3), KnownKeys(hashes[700:], hashes[700:] // 3)]
    )
    store.publish_load("first", views={})
    ((run, keys),) = store.key_runs("payments").items()
    parts = list(store.keys_of_run(run))
    assert keys == len(hashes)
    assert np.concatenate([one.key_hash for one in parts]).tolist() == hashes.tolist()
    assert np.concatenate([one.payload_hash for one in parts]).tolist() == (hashes // 3).tolist()


@given(st.lists(st.lists(st.integers(-5, 30), min_size=1), max_size=5), st.integers(1, 4))
def test_merged_streams_of_keys_are_all_of_them_in_order(streams: list[list[int]], cuts: int) -> None:
    def parts(keys: list[int]) -> Iterator[KnownKeys]:
        whole = np.sort(np.array(keys))
        for value in np.array_split(np.unique(whole), cuts):
            some = whole[np.isin(whole, value)]
            if len(some):
                yield KnownKeys(some, some * 10)

    found = list(merged(map(parts, streams)))
    assert [key for one in found for key in one.key_hash.tolist()] == sorted(key for keys in streams for key in keys)
    assert all((one.payload_hash == one.key_hash * 10).all() for one in found)
    assert all(one.key_hash[-1] < another.key_hash[0] for one, another in pairwise(found))


@pytest.mark.parametrize("first", [0, 1_000_000])
def test_runs_of_keys_stay_few_and_are_written_few_times(first: int) -> None:
    runs, written = ({0: first} if first else {}), 0
    for load in range(1, 1001):
        merging = worth_merging(runs, 100)
        size = 100 + sum(runs.pop(run) for run in merging)
        runs[load] = size
        written += size
        assert len(runs) <= 12
    assert sum(runs.values()) == first + 100_000
    assert written <= 12 * 100_000


@pytest.mark.parametrize("expected", range(12))
def test_only_keys_appended_after_the_position_that_a_load_expects_stop_it(store: OnlineStore, expected: int) -> None:
    hashes = np.random.default_rng(7).permutation(12).tolist()
    for number, key in enumerate(hashes):
        store.append("payments", batch(str(number), keys=[(key, 1)]))
    load(store, "first", b"a")
    before = KnownKeys(np.sort(np.array(hashes[:expected], np.int64)), np.ones(expected, np.int64))
    store.write_keys("first", "payments", [before])
    assert store.publish_load("first", views={VIEW: FULL}, expect_position=expected) is not None
    load(store, "second", b"b")
    later = KnownKeys(np.array([hashes[expected]]), np.ones(1, np.int64))
    store.write_keys("second", "payments", [later])
    assert store.publish_load("second", views={VIEW: FULL}, expect_position=expected) is None


def test_a_load_whose_key_was_appended_meanwhile_is_not_published(store: OnlineStore) -> None:
    load(store, "first", b"a")
    keys = keyed([(1, 11), (2, 22)])
    store.write_keys("first", "payments", [KnownKeys(keys.key_hash, keys.payload_hash)])
    store.append("payments", batch("a", keys=[(1, 11)]))
    assert store.publish_load("first", views={VIEW: FULL}, expect_position=0) is None
    assert store.published("first") is None
    assert events(store) == [b"a"]
    store.publish_load("first", views={VIEW: FULL}, expect_position=1)
    assert store.state().position == 2


def test_a_deleted_entity_is_gone_from_runs_staged_runs_and_the_tail(store: OnlineStore) -> None:
    load(store, "first", b"run")
    store.publish_load("first", views={VIEW: FULL})
    load(store, "second", b"staged")
    store.append("payments", batch("tail"))
    store.append("payments", batch("other", entity="c2"))
    store.delete(VIEW, ["c1"])
    store.publish_load("second", views={VIEW: FULL})
    assert events(store) == []
    assert events(store, "c2") == [b"other"]


def complete(store: OnlineStore) -> bool:
    held = store.views()[VIEW].complete
    assert store.read({}, {}).views[VIEW].complete is held
    return held


@pytest.mark.parametrize(
    ("covers", "whole"), [({VIEW: SIGNED.signature}, True), ({}, False), ({VIEW: OTHER}, False), ({"v": OTHER}, False)]
)
def test_an_append_that_does_not_cover_a_view_leaves_it_incomplete(
    store: OnlineStore, covers: dict[str, str], *, whole: bool
) -> None:
    store.open_views({VIEW: SIGNED})
    assert complete(store)
    store.append("payments", batch("a", covers=covers))
    assert complete(store) is whole


def test_appends_that_keep_nothing_or_are_of_another_source_leave_views_complete(store: OnlineStore) -> None:
    store.open_views({VIEW: SIGNED})
    store.append("payments", batch("a", keys=[(1, 11)], covers={VIEW: SIGNED.signature}))
    store.append("payments", batch("a", keys=[(1, 11)]))
    store.append("refunds", batch("b"))
    assert complete(store)


def test_a_view_is_opened_only_while_its_source_has_no_event(store: OnlineStore) -> None:
    store.append("refunds", batch("a"))
    store.open_views({VIEW: SIGNED})
    store.append("payments", batch("b", covers={VIEW: SIGNED.signature}))
    store.open_views({VIEW: ViewState(source="payments", signature=OTHER), "new": SIGNED, "of_refunds": FULL})
    assert store.views()[VIEW].signature == SIGNED.signature
    assert set(store.views()) == {VIEW, "of_refunds"}
    assert [store.touched(source) for source in ("payments", "refunds", "others")] == [True, True, False]


def test_a_load_leaves_the_views_of_its_sources_that_it_does_not_fill_incomplete(store: OnlineStore) -> None:
    store.open_views({VIEW: SIGNED, "filled": SIGNED, "of_refunds": ViewState(source="refunds")})
    store.begin_load("first")
    store.publish_load("first", views={"filled": SIGNED}, sources=["payments"])
    assert {name: state.complete for name, state in store.views().items()} == {
        VIEW: False,
        "filled": True,
        "of_refunds": True,
    }
    assert store.touched("payments")
    load(store, "second", b"a")
    store.publish_load("second", views={VIEW: SIGNED})
    assert complete(store)


@pytest.mark.parametrize(("tail_upto", "whole"), [(1, True), (0, False)])
def test_a_filled_view_lacks_appends_that_neither_the_load_nor_they_themselves_put_there(
    store: OnlineStore, tail_upto: int, *, whole: bool
) -> None:
    store.append("payments", batch("a"))
    store.append("payments", batch("b", covers={VIEW: SIGNED.signature}))
    store.append("refunds", batch("c"))
    load(store, "first", b"run")
    store.publish_load("first", views={VIEW: SIGNED}, tail_upto=tail_upto)
    assert complete(store) is whole


def append_each(store: OnlineStore, *texts: str, entity: str = "c1") -> None:
    for text in texts:
        store.append("payments", batch(text, entity=entity, merge=joining))


def test_an_entity_that_many_appends_have_events_of_has_few_blobs(store: OnlineStore) -> None:
    append_each(store, *LETTERS)
    append_each(store, "z", entity="c2")
    held = events(store)
    assert len(held) < len(LETTERS) / 2
    assert each(held) == sorted(LETTERS)
    assert events(store, "c2") == [b"z"]


def test_entities_that_many_large_appends_have_events_of_have_few_blobs(store: OnlineStore) -> None:
    entities = [f"c{number}" for number in range(100)]

    def each_of(number: int) -> Batch:
        def packed(stamp: int, _: IntArray) -> tuple[bytes, Mapping[str, Sequence[Piece]]]:
            return b"", {VIEW: [(entity, stamp, b"%03d" % number) for entity in entities]}

        return Batch(rows=100, now=100, pack=packed, merge=joining)

    for number in range(300):
        store.append("payments", each_of(number))
    for blobs in store.read({VIEW: entities}, {}).blobs[VIEW]:
        assert each([blob for blob, _ in blobs]) == [f"{number:03}" for number in range(300)]
        assert len(blobs) < 100  # those that came since it was last looked at, in one of eight appends


def test_blobs_that_cannot_be_merged_stay_as_they_are(store: OnlineStore) -> None:
    append_each(store, "!", *LETTERS)
    assert events(store) == [b"!", *(text.encode() for text in sorted(LETTERS))]


def test_appends_before_and_after_the_tail_was_closed_stay_apart(store: OnlineStore) -> None:
    append_each(store, *LETTERS[:12])
    upto = store.close_tail()
    append_each(store, *LETTERS[12:])
    load(store, "first", b"of the log")
    store.publish_load("first", views={VIEW: FULL}, tail_upto=upto)
    assert each(events(store)) == sorted([*LETTERS[12:], "of the log"])
    assert len(events(store)) < len(LETTERS)


def test_what_lies_before_the_end_of_a_closed_tail_is_merged_too(store: OnlineStore) -> None:
    for text in LETTERS:
        append_each(store, text)
        store.close_tail()
    assert each(events(store)) == sorted(LETTERS)
    assert len(events(store)) < len(LETTERS)


def test_a_store_that_goes_on_from_the_log_keeps_apart_what_it_held(store: OnlineStore) -> None:
    append_each(store, *LETTERS[:12])
    store.resume(40, 0)
    append_each(store, *LETTERS[12:])
    load(store, "first", b"of the log")
    store.publish_load("first", views={VIEW: FULL}, tail_upto=40)
    assert each(events(store)) == sorted([*LETTERS[12:], "of the log"])


def each(held: list[bytes]) -> list[str]:
    return sorted(text.decode() for blob in held for text in blob.split(b"+"))
