"""Scenarios that make the hard cases the rule: ties, edges to the microsecond, late and doubled events, nulls.

A scenario is described once; :func:`rendered` writes its features as the Python that a user would write, and the oracle
computes them from the same trees.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from oracle import AsOf, ByKey, Col, Lit, Node, Op, Reduce

from featurestore.testing.oracle import Delivery, Event, Rules, Value

SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
BASE = 1_709_251_199_000_000  # 2024-02-29T23:59:59Z
INSTANTS = (BASE, BASE + HOUR, BASE + DAY)
WINDOWS = (10 * SECOND, HOUR, DAY)
OFFSET = 10 * SECOND
COLUMNS = {
    "id": "str",
    "customer": "str",
    "shop": "int",
    "event_time": "datetime",
    "amount": "float",
    "price": "float",
    "units": "int",
    "big": "int",
    "flag": "bool",
    "note": "str",
    "seen": "datetime",
}
VIEWS = {"customer": ("customer",), "shop": ("shop",), "pair": ("customer", "shop")}
ROLES: Mapping[str, Mapping[str, str]] = {
    "buyer": {"customer": "buyer"},
    "buyer_store": {"customer": "buyer", "shop": "store"},
}

CENTS = (0.1, 0.2, 0.3, 10.01, 19.99, 1.0, -1.0)
HOSTILE = (
    1e16,
    -1e16,
    2.0**53,
    1 + 2**-52,
    2**-53,
    -(2**-54),
    5e-324,
    -5e-324,
    2.2250738585072014e-308,
    0.0,
    -0.0,
    1e-300,
)
HUGE = (1.7976931348623157e308, -1.7976931348623157e308, 1e308)
FLOATS = (*CENTS, *HOSTILE, *HUGE, float("nan"))
UNITS = (0, 1, -1, 2, 3, 7, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1)
BIG = (2**63 - 1, -(2**63), 2**62, -(2**62) - 1, 2**53 + 1, 0)
NOTES = ("", "a", "A", "online", "Ä", "ä", "İ", "ß", "日本", "😀", "a\x00", " a")
CUSTOMERS = ("c1", "c2", "", "c1|1", "ä")
SHOPS = (1, 2, -1, 2**53 + 1)


def middle(values: Any) -> float:
    """Give the upper median of some numbers."""
    return float(sorted(values)[len(values) // 2])


def joined(values: Any) -> str:
    """Give some texts in their order."""
    return "|".join(values)


@dataclass(frozen=True)
class Asked:
    """One declared feature: outputs ``name`` or a family, over one view."""

    name: str
    view: str
    node: Node
    windows: tuple[int | None, ...]
    offset: int = 0


@dataclass(frozen=True)
class Scenario:
    """What is declared, delivered and asked. The spine has keys, roles, request fields and as_of."""

    rules: Rules
    deliveries: tuple[Delivery, ...]
    spine: tuple[Mapping[str, Value], ...]
    features: tuple[Asked, ...]

    def __repr__(self) -> str:
        """In short: a failure names the feature, the row and the position that differ."""
        deliveries = ", ".join(f"{one.kind} of {len(one.rows)} at {one.at}" for one in self.deliveries)
        return f"Scenario({self.rules}, {deliveries})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002, FBT001  # what Hypothesis prints by
        printer.text(repr(self))


# Features


def catalogue() -> dict[str, Node]:
    """Every reduction of every column that has it, and expressions that users write."""
    amount, price, units, flag, note = (Col(name) for name in ("amount", "price", "units", "flag", "note"))
    trees: dict[str, Node] = {"events": Reduce("count"), "quiet": Reduce("since_last")}
    for column in ("amount", "price", "units"):
        for name in ("sum", "mean", "var", "std", "min", "max"):
            trees[f"{column}_{name}"] = Reduce(name, Col(column), kind=COLUMNS[column])
    for column in ("big", "seen"):
        for name in ("min", "max"):
            trees[f"{column}_{name}"] = Reduce(name, Col(column))
    for column in ("amount", "units", "big", "flag", "note", "seen"):
        for name in ("count", "nunique", "first", "last", "mode"):
            trees[f"{column}_{name}"] = Reduce(name, Col(column))
        trees[f"{column}_second"] = Reduce("nth", Col(column), place=1)
        trees[f"{column}_before_last"] = Reduce("nth", Col(column), place=-2, skip_null=True)
        trees[f"{column}_last_there"] = Reduce("last", Col(column), skip_null=True)
        trees[f"{column}_mode_of_two"] = Reduce("mode", Col(column), ends=2, skip_null=True)
    for name in ("sum", "mean", "any", "all"):
        trees[f"flag_{name}"] = Reduce(name, flag, kind="bool")
    online = Op("==", (note, Lit("online")))
    dear = Op(">", (amount, Lit(0.3)))
    trees["online_share"] = Op("/", (Reduce("count", where=online), Reduce("count")))
    trees["dear_sum"] = Reduce("sum", amount, where=Op("&", (dear, Op("~", (flag,)))))
    trees["dear_or_flagged"] = Reduce("count", where=Op("|", (dear, flag)))
    trees["not_both"] = Reduce("count", where=Op("~", (Op("&", (dear, flag)),)))
    trees["unit_share"] = Reduce("max", Op("/", (units, Col("big"))))
    trees["quiet_flagged"] = Reduce("since_last", where=flag)
    trees["product"] = Reduce("sum", Op("*", (amount, price)))
    trees["ratio"] = Reduce("mean", Op("/", (amount, units)))
    trees["remainder"] = Reduce("sum", Op("%", (amount, Lit(0.3))))
    trees["floors"] = Reduce("max", Op("//", (units, Lit(-2))), kind="int")
    trees["letters"] = Reduce("sum", Op("length", (note,)), kind="int")
    trees["lowered"] = Reduce("last", Op("lower", (note,)), skip_null=True)
    trees["nights"] = Reduce("count", where=Op(">=", (Op("hour", (Col("event_time"),)), Lit(23))))
    trees["leap_days"] = Reduce("sum", Op("day", (Col("event_time"),)), kind="int")
    trees["late"] = Reduce("count", where=Op(">", (Col("seen"), Col("event_time"))))
    trees["after_base"] = Reduce("count", where=Op(">", (Col("event_time"), Lit(BASE, as_datetime=True))))
    trees["all_past"] = Op("<", (Reduce("max", Col("seen")), AsOf()))
    trees["trend"] = Op("-", (Reduce("last", price), Reduce("first", price)))
    trees["exceeds"] = Op(">", (Reduce("max", amount), Reduce("mean", price)))
    trees["middle_price"] = Reduce("apply", price, function=middle)
    trees["joined_notes"] = Reduce("apply", note, kind="str", function=joined)
    return trees | structures()


def structures() -> dict[str, Node]:
    """Reductions of some of a window's events, and of the changes between them."""
    amount, units, flag, note = (Col(name) for name in ("amount", "units", "flag", "note"))
    trees: dict[str, Node] = {}
    for column in ("amount", "units", "big"):
        trees[f"{column}_change"] = Reduce("max", Col(column), change="units")
        trees[f"{column}_change_sum"] = Reduce("sum", Op("//", (Col(column), Lit(64))), COLUMNS[column], change="units")
    for name in ("mean", "std", "min", "max", "count", "last"):
        trees[f"gap_{name}"] = Reduce(name, Col("event_time"), change="seconds")
    for name in ("sum", "mode", "first", "count"):
        trees[f"last_two_{name}"] = Reduce(name, amount, rows=-2)
        trees[f"last_amounts_{name}"] = Reduce(name, amount, ends=-2)
        trees[f"first_known_{name}"] = Reduce(name, amount, ends=2, skip_null=True)
        trees[f"last_flagged_{name}"] = Reduce(name, units, "int", where=flag, rows=-1)
    trees["rest_of_three"] = Reduce("mean", Col("event_time"), change="seconds", rows=-3, where=Op("~", (flag,)))
    trees["second_gap"] = Reduce("last", Col("event_time"), change="seconds", ends=2)
    trees["quiet_first"] = Reduce("since_last", rows=1)
    trees["jump"] = Reduce("nunique", Col("seen"), change="seconds", ends=-2)
    trees["weekend_count"] = Reduce("count", where=Op("is_weekend", (Col("event_time"),)))
    trees["days"] = Reduce("nunique", Op("date", (Col("event_time"),)))
    trees["quarters"] = Reduce("max", Op("quarter", (Col("seen"),)))
    trees["minutes"] = Reduce("sum", Op("minute", (Col("event_time"),)), kind="int")
    trees["shouted"] = Reduce("mode", Op("strip", (Op("upper", (note,)),)))
    trees["ends_in_a"] = Reduce("count", where=Op("endswith", (note, Lit("a"))))
    return trees | maps()


def maps() -> dict[str, Node]:
    """A value for each group of a window's events, and what becomes of them."""
    amount, units, note, happened = (Col(name) for name in ("amount", "units", "note", "event_time"))
    trees: dict[str, Node] = {"shops_seen": ByKey(Col("shop"), Reduce("count"), "int")}
    for name in ("sum", "mean", "last", "mode"):
        trees[f"{name}_by_note"] = ByKey(note, Reduce(name, amount))
    trees["units_by_flag"] = ByKey(Col("flag"), Reduce("last", units, skip_null=True), "bool")
    trees["note_by_amount"] = ByKey(amount, Reduce("last", note), "float")
    trees["seen_by_day"] = ByKey(Op("date", (happened,)), Reduce("max", Col("seen")), "datetime")
    trees["any_by_weekday"] = ByKey(Op("weekday", (happened,)), Reduce("any", Col("flag")), "int")
    trees["gap_by_note"] = ByKey(note, Reduce("max", happened, change="seconds"))
    trees["quiet_by_note"] = ByKey(note, Reduce("since_last"))
    trees["newest_by_note"] = ByKey(note, Reduce("mean", amount, rows=-2))
    trees["rate_by_note"] = ByKey(note, Op("/", (Reduce("sum", amount), Reduce("count"))))
    trees["dearest_note"] = ByKey(note, Reduce("sum", amount), fold="max")
    trees["note_kinds"] = ByKey(Op("lower", (note,)), Reduce("count"), fold="count")
    trees["flagged_by_note"] = ByKey(note, Reduce("sum", units, "int", where=Col("flag")))
    return trees | figures_by_key()


def figures_by_key() -> dict[str, Node]:
    """What describes a distribution or a trend, of each group: with its own values, event times and instant."""
    amount, price, units, flag, note = (Col(name) for name in ("amount", "price", "units", "flag", "note"))
    trees: dict[str, Node] = {}
    for name in ("median", "skew", "entropy"):
        trees[f"{name}_by_flag"] = ByKey(flag, Reduce(name, price), "bool")
    trees["quantile_by_note"] = ByKey(note, Reduce("quantile", amount, number=0.9))
    trees["slope_by_flag"] = ByKey(flag, Reduce("slope", amount, number=HOUR), "bool")
    trees["decayed_by_note"] = ByKey(note, Reduce("decayed_sum", price, number=10 * SECOND))
    trees["pace_by_note"] = ByKey(note, Reduce("rate", number=HOUR))
    trees["pace_flagged_by_note"] = ByKey(note, Reduce("rate", where=flag, number=DAY))
    trees["flagged_slope_by_note"] = ByKey(note, Reduce("slope", price, where=flag, number=SECOND))
    trees["known_decayed_by_note"] = ByKey(note, Reduce("decayed_sum", amount, number=SECOND, ends=-2, skip_null=True))
    trees["change_decayed_by_note"] = ByKey(note, Reduce("decayed_sum", units, "int", number=HOUR, change="units"))
    trees["instant_by_note"] = ByKey(note, AsOf())
    trees["median_of_notes"] = ByKey(note, Reduce("decayed_sum", amount, number=DAY), fold="median")
    return trees


def figures() -> dict[str, Node]:
    """What describes a distribution or a trend, of columns and of expressions, filtered or not."""
    amount, price, units, flag = (Col(name) for name in ("amount", "price", "units", "flag"))
    dear = Op(">", (amount, Lit(0.3)))
    trees: dict[str, Node] = {}
    for column in ("amount", "price", "units", "big", "flag"):
        kind = COLUMNS[column]
        for name in ("median", "skew", "kurtosis"):
            trees[f"{column}_{name}"] = Reduce(name, Col(column), kind=kind)
        trees[f"{column}_slope"] = Reduce("slope", Col(column), kind=kind, number=DAY)
        trees[f"{column}_decayed"] = Reduce("decayed_sum", Col(column), kind=kind, number=HOUR)
    for share in (0, 0.25, 0.9, 1 / 3):
        trees[f"amount_quantile_{round(100 * share)}"] = Reduce("quantile", amount, number=share)
    trees["big_quantile_90"] = Reduce("quantile", Col("big"), kind="int", number=0.9)
    for column in ("amount", "units", "flag", "note", "seen"):
        trees[f"{column}_entropy"] = Reduce("entropy", Col(column))
    trees["pace"] = Reduce("rate", number=HOUR)
    trees["pace_flagged"] = Reduce("rate", where=flag, number=DAY)
    trees["dear_median"] = Reduce("median", amount, where=dear)
    trees["dear_slope"] = Reduce("slope", Op("*", (amount, units)), where=dear, number=SECOND)
    trees["dear_decayed"] = Reduce("decayed_sum", Op("/", (price, units)), where=dear, number=10 * SECOND)
    for name, number in (("slope", HOUR), ("decayed_sum", SECOND)):
        trees[f"last_{name}"] = Reduce(name, amount, number=number, rows=-3)
        trees[f"known_{name}"] = Reduce(name, amount, number=number, ends=-2, skip_null=True)
        trees[f"change_{name}"] = Reduce(name, units, "int", number=number, change="units")
        trees[f"gap_{name}"] = Reduce(name, Col("event_time"), number=number, change="seconds", ends=2)
    trees["gap_median"] = Reduce("median", Col("event_time"), change="seconds")
    trees["pace_of_two"] = Reduce("rate", rows=-2, number=HOUR)
    return trees


CATALOGUE = catalogue() | figures()


def operations() -> dict[str, Node]:
    """Every arithmetic operator on columns and constants of both number kinds, and texts against hostile texts."""
    amount, price, units, big, note = (Col(name) for name in ("amount", "price", "units", "big", "note"))
    pairs: list[tuple[Node, Node]] = [(units, big), (big, units), (big, big), (units, units), (units, amount)]
    pairs += [(amount, units), (price, amount), (units, Lit(-3)), (Lit(7), units), (big, Lit(3)), (big, Lit(0.3))]
    pairs += [(Lit(0.5), units), (amount, Lit(5e-324)), (Lit(1), amount)]
    symbols = {"plus": "+", "minus": "-", "times": "*", "over": "/", "floor": "//", "modulo": "%"}
    trees: dict[str, Node] = {}
    for place, (left, right) in enumerate(pairs):
        for word, symbol in symbols.items():
            if (word, right) != ("modulo", units):  # the smallest integer modulo -1 has a test of its own
                trees[f"{word}_{place}"] = Reduce("last", Op(symbol, (left, right)))
                trees[f"{word}_{place}_max"] = Reduce("max", Op(symbol, (left, right)))
    for place, text in enumerate(NOTES):
        for word in ("startswith", "contains", "=="):
            name = "equals" if word == "==" else word
            trees[f"{name}_{place}"] = Reduce("count", where=Op(word, (note, Lit(text))))
    return trees


OPERATIONS = operations()

RENDERED = {"upper": "{0}.upper()", "strip": "{0}.strip()"}
RENDERED |= {"lower": "{0}.lower()", "length": "{0}.length()", "abs": "abs({0})", "neg": "(-{0})", "~": "(~{0})"}
RENDERED |= {part: f"{{0}}.{part}" for part in ("minute", "hour", "weekday", "day", "month", "year")}
RENDERED |= {part: f"{{0}}.{part}" for part in ("is_weekend", "date", "quarter")}
RENDERED |= {name: f"{{0}}.{name}({{1}})" for name in ("startswith", "endswith", "contains", "fill_null")}
RENDERED["is_null"] = "{0}.is_null()"


def rendered(node: Node, window: str = "tx") -> str:
    """Write the Python expression that a user writes for this feature."""
    match node:
        case Col(name):
            return f"{window}[{name!r}]"
        case Lit(constant, as_datetime):
            return f"datetime.fromtimestamp({constant} // 1000000, UTC)" if as_datetime else repr(constant)
        case AsOf():
            return f"{window}.as_of"
        case Op(symbol, operands):
            parts = [rendered(operand, window) for operand in operands]
            return RENDERED[symbol].format(*parts) if symbol in RENDERED else f"({parts[0]} {symbol} {parts[1]})"
        case Reduce():
            return _rendered_reduction(node, window)
        case ByKey(by, of, _, fold):
            group = f"{window}_group"
            body = f"(lambda {group}: {rendered(of, group)})({window}.group_by({rendered(by, window)}))"
            return body if fold is None else f"{body}.{fold}()"


def _rendered_reduction(node: Reduce, window: str) -> str:
    kept = window if node.where is None and node.rows is None else f"{window}_"
    arguments = [str(node.place)] if node.name == "nth" else []
    skip = ["skip_null=True"] if node.skip_null else []
    if node.ends is None:
        arguments += skip
    if node.name == "quantile":
        arguments.append(repr(node.number))
    if node.name in ("slope", "decayed_sum", "rate"):
        arguments.append(f"'{node.number}us'")
    if node.function is not None:
        arguments += [node.function.__name__, f"returns={node.kind}"]
    of = kept if node.of is None else rendered(node.of, kept)
    if node.change is not None:
        of = f"{kept}.gaps()" if node.of == Col("event_time") else f"{of}.diff()"
    if node.ends is not None:
        of = f"{of}.{_end(node.ends)}({', '.join([str(abs(node.ends)), *skip])})"
    body = f"{of}.{node.name}({', '.join(arguments)})"
    if kept == window:
        return body
    events = window if node.where is None else f"{window}[{rendered(node.where, window)}]"
    if node.rows is not None:
        events = f"{events}.{_end(node.rows)}({abs(node.rows)})"
    return f"(lambda {kept}: {body})({events})"


def _end(count: int) -> str:
    return "first" if count > 0 else "last"


def _literal(pool: tuple[Any, ...]) -> SearchStrategy[Node]:
    return st.sampled_from([Lit(entry) for entry in pool if entry == entry])  # noqa: PLR0124  # no NaN among them


def number_trees() -> SearchStrategy[Node]:
    """Float expressions of the events."""
    leaf: SearchStrategy[Node] = st.sampled_from([Col("amount"), Col("price"), Col("units")])

    def grow(inner: SearchStrategy[Node]) -> SearchStrategy[Node]:
        pairs = st.one_of(st.tuples(inner, inner), st.tuples(inner, _literal(CENTS)), st.tuples(_literal(CENTS), inner))
        binary = st.builds(Op, st.sampled_from(["+", "-", "*", "/", "//", "%"]), pairs)
        filled = st.builds(Op, st.just("fill_null"), st.tuples(inner, _literal(CENTS)))
        return st.one_of(binary, st.builds(Op, st.sampled_from(["neg", "abs"]), st.tuples(inner)), filled)

    floats = st.builds(Op, st.just("*"), st.tuples(leaf, _literal(CENTS)))
    return st.recursive(floats, grow, max_leaves=4)


def truth_trees() -> SearchStrategy[Node]:
    """Boolean expressions of the events."""
    compare = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    numbers = st.builds(Op, compare, st.tuples(number_trees(), _literal(FLOATS)))
    whole = st.builds(Op, compare, st.tuples(st.sampled_from([Col("units"), Col("big")]), _literal(UNITS + BIG)))
    mixed = st.builds(Op, compare, st.tuples(st.just(Col("amount")), st.just(Col("price"))))
    texts = st.builds(
        Op, st.sampled_from(["==", "!=", "startswith", "contains"]), st.tuples(st.just(Col("note")), _literal(NOTES))
    )
    leaf: SearchStrategy[Node] = st.one_of(numbers, whole, mixed, texts, st.just(Col("flag")))
    nulls = st.builds(Op, st.just("is_null"), st.tuples(st.sampled_from([Col("amount"), Col("note"), Col("flag")])))

    def grow(inner: SearchStrategy[Node]) -> SearchStrategy[Node]:
        both = st.builds(Op, st.sampled_from(["&", "|"]), st.tuples(inner, inner))
        return st.one_of(both, st.builds(Op, st.just("~"), st.tuples(inner)))

    return st.recursive(st.one_of(leaf, nulls), grow, max_leaves=3)


def feature_trees() -> SearchStrategy[Node]:
    """Whole features: reductions of expressions, filtered or not, and arithmetic between them."""
    where = st.none() | truth_trees()
    folds = st.sampled_from(
        [
            *("count", "sum", "mean", "min", "max", "var", "first", "last", "nunique", "mode"),
            *("median", "skew", "entropy"),
        ]
    )
    some = st.sampled_from([None, None, 1, 2, -1, -2])
    change = st.sampled_from([None, None, "units"])
    reductions = st.one_of(
        st.builds(Reduce, folds, number_trees(), where=where),
        st.builds(Reduce, folds, number_trees(), where=where, rows=some, change=change, ends=some),
        st.builds(Reduce, st.sampled_from(["count", "since_last"]), where=truth_trees()),
        st.builds(Reduce, st.sampled_from(["sum", "mean", "any", "all"]), truth_trees(), st.just("bool"), where),
    )
    figures = reductions.filter(lambda node: node.name not in ("any", "all"))
    between = st.builds(Op, st.sampled_from(["+", "-", "*", "/", ">", "=="]), st.tuples(figures, figures))
    return st.one_of(reductions, between)


# Data


def _rows(instants: SearchStrategy[int], customers: list[str], shops: list[int]) -> SearchStrategy[dict[str, Any]]:
    pools: dict[str, tuple[Any, ...]] = {
        "id": ("x", "y", None),
        "customer": (*customers, *customers, *customers, None),
        "shop": (*shops, *shops, *shops, None),
        "amount": (*FLOATS, None),
        "price": FLOATS[:-1],  # required: NaN is null, which it does not take
        "units": (*UNITS, None),
        "big": (*BIG, None),
        "flag": (True, False, None),
        "note": (*NOTES, None),
    }
    cells: dict[str, SearchStrategy[Any]] = {name: st.sampled_from(pool) for name, pool in pools.items()}
    return st.fixed_dictionaries({**cells, "event_time": instants, "seen": instants})


@st.composite
def scenarios(draw: DrawFn, trees: int = 2) -> Scenario:
    """Draw a whole scenario; ``trees`` random features join a share of the catalogue."""
    known_at = draw(st.sampled_from([None, "seen"]))
    delay = draw(st.sampled_from([0, 10 * SECOND, HOUR])) if known_at is None else 0
    key = draw(st.sampled_from([None, "id"]))
    rules = Rules(tuple(COLUMNS), known_at=known_at, delay=delay, key=key, inclusive=draw(st.booleans()))
    anchors = draw(st.lists(st.sampled_from(INSTANTS), min_size=1, max_size=2, unique=True))
    edges = {0, SECOND, delay, OFFSET, *WINDOWS, *(window + OFFSET for window in WINDOWS)}
    near = sorted({at - edge + step for at in anchors for edge in edges for step in (-1, 0, 1)})
    instants = st.sampled_from(draw(st.lists(st.sampled_from(near), min_size=2, max_size=8, unique=True)))
    moments = st.sampled_from([at + step for at in anchors for step in (-1, 0, 1)])
    customers = draw(st.lists(st.sampled_from(CUSTOMERS), min_size=1, max_size=2, unique=True))
    shops = draw(st.lists(st.sampled_from(SHOPS), min_size=1, max_size=2, unique=True))
    rows = draw(st.lists(_rows(instants, customers, shops), min_size=6, max_size=30))
    if key is not None:  # one payload per key, and some events without one
        rows = [{**row, "id": None if row["id"] is None else f"e{number}"} for number, row in enumerate(rows)]
    return Scenario(
        rules=rules,
        deliveries=draw(_deliveries(rows, moments | instants, instants, rules)),
        spine=tuple(draw(st.lists(_spine_rows(moments, customers, shops), min_size=8, max_size=20))),
        features=draw(_features(trees)),
    )


@st.composite
def _deliveries(
    draw: DrawFn, rows: list[dict[str, Any]], moments: SearchStrategy[int], instants: SearchStrategy[int], rules: Rules
) -> tuple[Delivery, ...]:
    """Each row in one delivery or several: two bulk loads and two calls of ingest, in one of three orders."""
    kinds = draw(st.sampled_from(["biib", "ibib", "bbii"]))
    first = kinds.index("b")
    batches: list[list[Event]] = [[] for _ in kinds]
    batches[first].append(rows[0])
    places = st.lists(st.sampled_from([first, first, first, 0, 1, 2, 3]), min_size=1, max_size=3)
    for row in rows[1:]:
        for copy, place in enumerate(draw(places)):
            changed = copy > 0 and rules.key is not None and rules.known_at is not None and row["id"] is not None
            batches[place].append({**row, "seen": draw(instants)} if changed else row)
    arrivals = draw(st.lists(moments, min_size=len(kinds), max_size=len(kinds)))
    if draw(st.integers(0, 3)):  # else the clock runs back
        arrivals.sort()
    names = {"b": "bulk", "i": "ingest"}
    return tuple(
        Delivery(names[kind], at, tuple(batch))
        for kind, at, batch in zip(kinds, arrivals, batches, strict=True)
        if batch
    )


def _spine_rows(moments: SearchStrategy[int], customers: list[str], shops: list[int]) -> SearchStrategy[dict[str, Any]]:
    who = st.sampled_from((*customers * 4, "never seen", None))
    where = st.sampled_from((*shops * 4, 99, None))
    keys = {"customer": who, "shop": where, "buyer": who, "store": where}
    request = {"asked": st.sampled_from([None, 2.5]), "word": st.just("w")}
    return st.fixed_dictionaries({**keys, **request, "as_of": moments})


@st.composite
def _features(draw: DrawFn, trees: int) -> tuple[Asked, ...]:
    """A third of the catalogue for each view, in windows, over the whole history, some with an offset; random trees."""
    turn = draw(st.integers(0, len(VIEWS) - 1))
    asked = []
    for place, (name, node) in enumerate(CATALOGUE.items()):
        view = list(VIEWS)[(place + turn) % len(VIEWS)]
        asked.append(Asked(name, view, node, WINDOWS))
        asked.append(Asked(f"{name}_ever", view, node, (None,)))
        if place % 4 == turn:
            asked.append(Asked(f"{name}_before", view, node, (HOUR,), OFFSET))
    views = draw(st.lists(st.sampled_from(list(VIEWS)), min_size=trees, max_size=trees))
    drawn = [Asked(f"random_{number}", view, draw(feature_trees()), WINDOWS) for number, view in enumerate(views)]
    return (*asked, *drawn)
