from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel

from featurestore import definition, testing
from featurestore.definition import Entity, FeatureService, RowFeature, Source, aggregations, feature, on
from featurestore.errors import ColumnError, DefinitionError
from featurestore.window import Window


class Payment(BaseModel):
    customer_id: str
    shop: int | None
    event_time: datetime
    seen: datetime | None = None
    amount: float


CUSTOMER = Entity("customer", key="customer_id")
PAIR = Entity("pair", key=("customer_id", "shop"))
PAYMENTS = Source("payments", schema=Payment, event_time="event_time")


def mean_amount(tx: Window) -> Any:
    """Mean amount, USD."""
    return tx.amount.mean()


def row(amount: float, mean_amount: float) -> float:
    """Amount over mean."""
    return amount / mean_amount


def test_a_window_feature_still_is_its_function() -> None:
    made = feature(PAYMENTS, by=CUSTOMER, window="30d")(mean_amount)
    assert (made.name, made.outputs, made.windows, made.offset) == (
        "mean_amount",
        ("mean_amount",),
        (2_592_000_000_000,),
        0,
    )
    assert (made.function, made.description, made.view.name) == (
        mean_amount,
        "Mean amount, USD.",
        "payments_by_customer",
    )


def test_its_type_and_columns_are_found_by_trying_it_on_nothing() -> None:
    made = feature(PAYMENTS, by=CUSTOMER)(mean_amount)
    assert (made.kind, made.nullable, sorted(made.columns)) == ("float", True, ["amount", "event_time"])
    assert made.windows == (None,)
    assert feature(PAYMENTS, by=CUSTOMER)(lambda_named("n", lambda tx: tx.count())).nullable is False


def lambda_named(name: str, function: Any) -> Any:
    function.__name__ = name
    return function


def test_a_family_has_an_output_for_each_window() -> None:
    made = feature(PAYMENTS, by=CUSTOMER, windows=["1h", timedelta(days=7)], offset="1d")(mean_amount)
    assert made.outputs == ("mean_amount_1h", "mean_amount_7d")
    assert (made.windows, made.offset) == ((3_600_000_000, 604_800_000_000), 86_400_000_000)


def test_a_row_feature_still_is_its_function() -> None:
    made = feature(row)
    assert made(10.0, 5.0) == 2.0
    assert (made.parameters, made.kind, made.nullable, made.on_arrays) == (
        ("amount", "mean_amount"),
        "float",
        True,
        False,
    )
    assert isinstance(feature()(row), RowFeature)


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        *(
            (np.ndarray, "float"),
            (NDArray[np.float32], "float"),
            (NDArray[np.int64], "int"),
            (NDArray[np.bool_], "bool"),
        ),
        *(
            (NDArray[np.datetime64], "datetime"),
            (NDArray[np.object_], "str"),
            ("NDArray[np.int64]", "int"),
            (int, "int"),
        ),
    ],
)
def test_a_row_feature_on_arrays_says_what_it_gives(annotation: Any, kind: str) -> None:
    def doubled(amount: Any) -> Any:
        return amount * 2

    doubled.__annotations__ = {"amount": np.ndarray, "return": annotation}
    assert (feature(doubled).on_arrays, feature(doubled).kind) == (True, kind)


def test_aggregations_are_plain_reductions_of_plain_columns() -> None:
    made = aggregations(PAYMENTS.by(CUSTOMER), columns=["amount"], functions=["mean", "max"], windows=["1h", "1d"])
    assert [output for one in made for output in one.outputs] == [
        *("amount_mean_1h", "amount_mean_1d", "amount_max_1h", "amount_max_1d")
    ]
    assert made[0].description == "``mean`` of ``amount``."


def test_a_role_names_its_outputs() -> None:
    made = feature(PAYMENTS, by=CUSTOMER)(mean_amount)
    pair = feature(PAYMENTS, by=PAIR)(mean_amount)
    assert on("payer", made)[0].outputs == ("payer__mean_amount",)
    assert on({"customer_id": "payer", "shop": "at"}, [pair])[0].outputs == ("payer_at__mean_amount",)


def test_a_service_lists_outputs_in_declared_order() -> None:
    family = feature(PAYMENTS, by=CUSTOMER, windows=["1h", "1d"])(mean_amount)
    service = FeatureService("fraud", features=[feature(row), [family], on("payer", family)])
    assert service.outputs == (
        *("row", "mean_amount_1h", "mean_amount_1d", "payer__mean_amount_1h", "payer__mean_amount_1d"),
    )


def test_a_source_maps_the_keys_of_entities_to_its_columns() -> None:
    source = Source("p", schema=Payment, event_time="event_time", keys={"client": "customer_id"}, delay="5m")
    view = source.by(Entity("client", key="client"))
    assert (view.key_columns, view.key_kinds, source.delay) == (("customer_id",), ("str",), 300_000_000)


def declared(**rules: Any) -> Source:
    return Source("p", schema=Payment, **({"event_time": "event_time"} | rules))


def raising(_: Window) -> Any:
    raise ZeroDivisionError


WRONG: list[tuple[Any, str]] = [
    (lambda: Entity("a b", key="k"), "'a b' cannot name a entity|an entity"),
    (lambda: Entity("e", key=()), "one or more different key columns"),
    (lambda: Entity("e", key=("k", "k")), "one or more different key columns"),
    (lambda: Entity("e", key=[1]), "one or more different key columns"),  # type: ignore[list-item]
    (lambda: declared(event_time="event_tme"), "Did you mean 'event_time'"),
    (lambda: declared(event_time="amount"), "must be a datetime, not float"),
    (lambda: declared(event_time="seen"), "may be null"),
    (lambda: declared(known_at="seen", delay="1d"), "drop delay"),
    (lambda: declared(path="a", frame=1), "path and frame: give one of"),
    (lambda: declared(delay="soon"), "delay of source 'p'"),
    (lambda: declared(on_invalid="ignore"), "neither 'stop' nor 'quarantine'"),
    (lambda: PAYMENTS.by(Entity("shop", key="shop_id")), r"no column 'shop_id'.*Map it with keys=\{'shop_id'"),
    (lambda: feature(PAYMENTS, window="1d"), "say which entity"),
    (lambda: feature("payments", by=CUSTOMER), "is no source"),  # type: ignore[call-overload]
    (lambda: feature(window="1d"), "names its source"),  # type: ignore[call-overload]
    (lambda: feature(PAYMENTS.by(CUSTOMER), by=PAIR), "already grouped by 'customer'"),
    (lambda: feature(PAYMENTS, by=CUSTOMER, window="1d", windows=["1d"]), "not both"),
    (lambda: feature(PAYMENTS, by=CUSTOMER, window="0d")(mean_amount), "zero long"),
    (lambda: feature(PAYMENTS, by=CUSTOMER, window="1x")(mean_amount), "window of feature 'mean_amount': '1x' is not"),
    (lambda: feature(PAYMENTS, by=CUSTOMER, windows=[])(mean_amount), "one or more different durations"),
    (lambda: feature(PAYMENTS, by=CUSTOMER, windows=["1d", "1d"])(mean_amount), "one or more different durations"),
    (lambda: feature(PAYMENTS, by=CUSTOMER)(lambda tx: tx.count()), "'<lambda>' cannot name a feature"),
    (
        lambda: feature(PAYMENTS, by=CUSTOMER)(raising),
        r"test_definition\.py:\d+: feature 'raising' fails.*ZeroDivision",
    ),
    (lambda: feature(lambda_named("f", lambda amount: amount)), "annotate what it returns"),
    (lambda: feature(lambda_named("f", lambda *amounts: amounts)), "give each a name of its own"),
    (lambda: FeatureService("s", features=[]), "lists no feature"),
    (lambda: FeatureService("s", features=[mean_amount]), "is no feature. Decorate"),
    (lambda: FeatureService("s", features="row"), "takes a list of features"),
    (lambda: on("payer"), "lists no feature"),
    (lambda: on("payer", on("payee", feature(row))), "roles do not nest"),
    (lambda: aggregations(PAYMENTS.by(CUSTOMER), columns=["amuont"], functions=["sum"], windows=["1d"]), "'amount'"),
    (
        lambda: aggregations(PAYMENTS.by(CUSTOMER), columns=["amount"], functions=["avg"], windows=["1d"]),
        "No reduction named",
    ),
]


@pytest.mark.parametrize(("declare", "message"), WRONG)
def test_a_declaration_that_cannot_be_right_says_why(declare: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        declare()


def test_a_wrong_use_of_a_column_is_located_and_keeps_its_class() -> None:
    def first(tx: Window) -> Any:
        return tx.amount[0]

    with pytest.raises(ColumnError, match=r"test_definition\.py:\d+: feature 'first': A column has no index"):
        feature(PAYMENTS, by=CUSTOMER)(first)


def test_a_text_that_is_no_instant_is_the_author_s_mistake() -> None:
    def late(tx: Window) -> Any:
        return tx[tx.seen > "yesterday"].count()

    with pytest.raises(DefinitionError, match="'yesterday' is not an ISO 8601 instant"):
        feature(PAYMENTS, by=CUSTOMER)(late)


def test_every_plain_reduction_can_be_declared() -> None:
    numbers = [name for name in definition.REDUCTIONS if name not in ("any", "all")]
    assert len(aggregations(PAYMENTS.by(CUSTOMER), columns=["amount"], functions=numbers, windows=["1d"])) == len(
        numbers
    )


def test_slips_of_the_pen_are_answered_in_words() -> None:
    class Row(BaseModel):
        who: str
        event_time: datetime
        amount: float

    rows = Source("rows", schema=Row, event_time="event_time")
    who = Entity("who", key="who")
    with pytest.raises(DefinitionError, match="give an entity"):
        feature(rows, by="who", window="1d")  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match=r"aggregations\(source\.by\(entity\)"):
        aggregations(rows, columns=["amount"], functions=["sum"], windows=["1d"])  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"windows=\['1d', '7d'\]"):
        feature(rows, by=who, window=["1d", "7d"])  # type: ignore[call-overload]


def test_what_a_column_has_not_is_answered_with_what_it_has() -> None:
    with pytest.raises(ColumnError, match=r"A column has no \.isin\. Did you mean 'is_in'"):
        testing.window(amount=[1.0]).amount.isin([1])
