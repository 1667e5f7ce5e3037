"""Plain reductions for one row are what plain loops over its events give, and what many rows get (S3 to S7)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sales import KINDS, LOOPS, SECOND, Sale, shop

from featurestore import FeatureService, Source, aggregations, alone, feature
from featurestore.evaluate import Spine, evaluate
from featurestore.events import Events
from featurestore.plan import ServicePlan, compile_service
from featurestore.values import from_list

COLUMNS: tuple[tuple[str, Any], ...] = (
    ("price", st.none() | st.floats(-1e300, 1e300, allow_subnormal=True) | st.sampled_from([0.1, -0.1, 1e-320])),
    ("units", st.integers(-(2**50), 2**50)),
    ("paid", st.booleans()),
)


def plan_of(*, inclusive: bool) -> ServicePlan:
    """Plain reductions over two windows; the variances of those that have one."""
    sales = Source("sales", schema=Sale, event_time="at", inclusive=inclusive)
    names = [name for name, _ in COLUMNS]
    listed = [
        *aggregations(sales.by(shop), columns=names, functions=list(LOOPS)[:6], windows=["3s", "40s"]),
        *aggregations(sales.by(shop), columns=["price", "units"], functions=["var", "std"], windows=["40s"]),
    ]
    return compile_service(FeatureService("s", features=listed), {})


PLANS = {inclusive: plan_of(inclusive=inclusive) for inclusive in (False, True)}


@given(st.data())
def test_one_row_sees_what_plain_loops_see(data: st.DataObject) -> None:
    count = data.draw(st.integers(0, 12))
    happened = sorted(data.draw(st.lists(st.integers(0, 60), min_size=count, max_size=count)))
    late = data.draw(st.lists(st.sampled_from([0, 0, 0, 1, 9]), min_size=count, max_size=count))
    known = [at + more for at, more in zip(happened, late, strict=True)]
    columns = {name: data.draw(st.lists(items, min_size=count, max_size=count)) for name, items in COLUMNS}
    as_of, inclusive, there = data.draw(st.integers(0, 70)), data.draw(st.booleans()), data.draw(st.booleans())
    made = asked(PLANS[inclusive], [as_of], there=there, happened=happened, known=known, columns=columns)
    twice = asked(PLANS[inclusive], [as_of] * 2, there=there, happened=happened, known=known, columns=columns)
    for (name, values), many in zip(made.items(), twice.values(), strict=True):
        assert many.to_list() == values.to_list() * 2, name
        assert (many.valid is None) == (values.valid is None), name
        column, function, window = name.split("_")
        begin = as_of - int(window[:-1])
        seen = [
            one
            for one, at, since in zip(columns[column], happened, known, strict=True)
            if there and at >= begin and max(at, since) < as_of + inclusive
        ]
        assert values.to_list() == [LOOPS[function](seen, KINDS[column])], name


def asked(
    plan: ServicePlan,
    as_of: list[int],
    *,
    there: bool,
    happened: list[int],
    known: list[int],
    columns: dict[str, list[Any]],
) -> Any:
    """Values of rows of one shop, or of one without events."""
    held = {name: from_list(KINDS[name], items, nullable=name == "price") for name, items in columns.items()}
    events = Events(
        np.array([0, len(happened)]), np.array(happened, np.int64) * SECOND, np.array(known, np.int64) * SECOND, held
    )
    spine = Spine(np.array(as_of, np.int64) * SECOND, {"shop": from_list("str", ["x"] * len(as_of))})
    entities = {keyed: np.array([0 if there else -1] * len(as_of)) for keyed in plan.keyed}
    return evaluate(plan, spine, {"sales_by_shop": events}, entities)


def test_other_features_go_the_way_of_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions of users are called, for one row too."""
    called = []
    sales = Source("sales", schema=Sale, event_time="at")

    @feature(sales, by=shop, window="3s")
    def total(tx: Any) -> Any:
        called.append(1)
        return tx.price.sum()

    plan = compile_service(FeatureService("s", features=[total]), {})
    called.clear()
    monkeypatch.setattr(alone, "FOLDS", {})
    made = asked(plan, [3], there=True, happened=[1, 2], known=[1, 2], columns={"price": [1.0, 2.0]})
    assert made["total"].to_list() == [3.0]
    assert called == [1]
