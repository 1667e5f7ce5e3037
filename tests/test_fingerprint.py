"""Fingerprints (S11): what changes them, and what does not."""

from datetime import datetime
from pathlib import Path

import pytest
from declaring import HEAD, declared
from pydantic import BaseModel

from featurestore import Source
from featurestore.fingerprint import fingerprint_feature, fingerprint_outputs, fingerprint_source
from featurestore.written import source_text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ge=0", "gt=0"),
        ('event_time="at"', 'event_time="at", delay="5m"'),
        ('event_time="at"', 'event_time="at", inclusive=True'),
        ('event_time="at"', 'event_time="at", key="customer_id"'),
        ('event_time="at"', 'event_time="at", known_at="at"'),
        ("amount: float = Field(ge=0)", "amount: float | None = Field(ge=0)"),
        ("amount: float = Field(ge=0)", "amount: int = Field(ge=0)"),
        ("amount: float = Field(ge=0)", "amount: float = Field(ge=0, default=1)"),
        ("    amount: float", "    extra: str | None = None\n    amount: float"),
        (
            "amount: float = Field(ge=0)",
            "amount: float = Field(ge=0)\n    @field_validator('amount')\n    def half(cls, v): return v / 2",
        ),
    ],
)
def test_another_rule_of_the_source_is_another_source_and_another_feature(tmp_path: Path, old: str, new: str) -> None:
    text = HEAD + "@feature(payments, by=customer)\ndef f(tx): return tx.amount.mean()\n"
    before, after = declared(tmp_path, text), declared(tmp_path, text.replace(old, new))
    assert fingerprint_source(before.view.source) != fingerprint_source(after.view.source)
    assert fingerprint_feature(before, {}) != fingerprint_feature(after, {})


def test_where_data_lies_and_words_of_a_schema_are_no_rules(tmp_path: Path) -> None:
    other = HEAD.replace('path="a.parquet"', 'path="there/*.csv"').replace("ge=0", "ge=0, description='USD'")
    assert fingerprint_source(declared(tmp_path, HEAD, "payments")) == fingerprint_source(
        declared(tmp_path, other, "payments")
    )


WIDE = HEAD.replace("ge=0)\n", "ge=0)\n    merchant: str\n    city: str | None = None\n")
MEAN = "@feature(payments, by=customer)\ndef f(tx): return tx.amount.mean()\n"
IN_CITY = "@feature(payments, by=customer)\ndef f(tx): return tx[tx.city == 'Oslo'].count()\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    city: str | None = None\n", "    city: str | None = None\n    fee: float | None = None\n"),
        ("    city: str | None = None\n", ""),
        ("    merchant: str\n    city: str | None = None\n", ""),
        ("city: str | None", "city: int | None"),
        ("merchant: str", "merchant: str | None"),
        (
            "    city: str | None = None\n",
            "    city: str | None = None\n    @field_validator('city')\n    def low(cls, v): return v and v.lower()\n",
        ),
    ],
)
def test_columns_after_the_last_that_is_read_say_nothing(tmp_path: Path, old: str, new: str) -> None:
    before, after = declared(tmp_path, WIDE + MEAN), declared(tmp_path, WIDE.replace(old, new) + MEAN)
    assert fingerprint_source(before.view.source) != fingerprint_source(after.view.source)
    assert fingerprint_feature(before, {}) == fingerprint_feature(after, {})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    merchant: str\n", ""),
        ("    merchant: str\n", "    merchant: str\n    fee: float | None = None\n"),
        ("merchant: str\n", "merchant: int\n"),
        ("city: str | None", "city: str"),
        ("    merchant: str\n    city: str | None = None\n", "    city: str | None = None\n    merchant: str\n"),
    ],
)
def test_columns_before_the_last_that_is_read_decide_ties_and_count(tmp_path: Path, old: str, new: str) -> None:
    before, after = declared(tmp_path, WIDE + IN_CITY), declared(tmp_path, WIDE.replace(old, new) + IN_CITY)
    assert fingerprint_feature(before, {}) != fingerprint_feature(after, {})


def test_reading_a_later_column_counts(tmp_path: Path) -> None:
    columns = ["amount", "merchant", "city"]
    text = WIDE + "COLUMN = '{}'\n@feature(payments, by=customer)\ndef f(tx): return tx[COLUMN].count()\n"
    assert len({fingerprint_feature(declared(tmp_path, text.format(one)), {}) for one in columns}) == 3


@pytest.mark.parametrize("rule", ["key='id'", "known_at='seen'", "keys={'customer_id': 'payer'}"])
def test_a_column_that_a_rule_names_counts_though_no_feature_reads_it(tmp_path: Path, rule: str) -> None:
    wide = WIDE.replace("city: str | None = None\n", "id: int\n    seen: datetime\n    payer: str\n    city: str\n")
    text = wide.replace('event_time="at"', f'event_time="at", {rule}') + MEAN
    ruled = {"key='id'": "id: int", "known_at='seen'": "seen: datetime"}.get(rule, "payer: str")
    before, same = declared(tmp_path, text), declared(tmp_path, text.replace("city: str", "city: int"))
    other = declared(tmp_path, text.replace(ruled, f"{ruled} = Field(description='', default=None)"))
    assert fingerprint_feature(before, {}) == fingerprint_feature(same, {}) != fingerprint_feature(other, {})


def test_a_validator_of_the_whole_model_lets_every_column_count(tmp_path: Path) -> None:
    validator = "    @model_validator(mode='after')\n    def fill(self): return self\n"
    text = WIDE.replace("city: str | None = None\n", "city: str | None = None\n" + validator) + MEAN
    text = text.replace("import BaseModel,", "import BaseModel, model_validator,")
    before, after = declared(tmp_path, text), declared(tmp_path, text.replace("city: str | None", "city: int | None"))
    assert fingerprint_feature(before, {}) != fingerprint_feature(after, {})


def test_a_window_more_in_a_family_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    text = HEAD + "@feature(payments, by=customer, windows={})\ndef f(tx): return tx.count()\n"
    two = fingerprint_outputs(declared(tmp_path, text.format(["1h", "1d"])), {})
    three = fingerprint_outputs(declared(tmp_path, text.format(["1h", "1d", "7d"])), {})
    assert list(three) == ["f_1h", "f_1d", "f_7d"]
    assert {name: three[name] for name in two} == two
    assert len(set(three.values())) == 3


def test_window_and_offset_count(tmp_path: Path) -> None:
    text = HEAD + "@feature(payments, by=customer, {})\ndef f(tx): return tx.count()\n"
    kinds = ["window='1d'", "window='2d'", "window='1d', offset='1d'", "window=None"]
    assert len({fingerprint_feature(declared(tmp_path, text.format(kind)), {}) for kind in kinds}) == 4
    day, hours = (declared(tmp_path, text.format(kind)) for kind in ("window='1d'", "window='24h'"))
    assert fingerprint_feature(day, {}) == fingerprint_feature(hours, {})


def test_a_plain_reduction_counts_by_column_and_reduction(tmp_path: Path) -> None:
    text = (
        HEAD + "f = aggregations(payments.by(customer), columns=['amount'], functions=['min', 'max'], windows=['1d'])\n"
    )
    low, high = declared(tmp_path, text)
    again, _ = declared(tmp_path, text)
    assert fingerprint_feature(low, {}) == fingerprint_feature(again, {}) != fingerprint_feature(high, {})
    assert source_text(low.function) == "window['amount'].min()\n"


def test_inputs_role_and_returned_type_of_a_row_feature_count(tmp_path: Path) -> None:
    text = "from featurestore.definition import feature\n@feature\ndef f(a: float, b: float) -> {}: return a\n"
    row = declared(tmp_path, text.format("float"))
    prints = {fingerprint_feature(row, inputs) for inputs in ({}, {"a": "1"}, {"a": "2"}, {"b": "1"})}
    assert len(prints) == 4
    assert fingerprint_feature(declared(tmp_path, text.format("int")), {}) not in prints


def test_a_role_counts(tmp_path: Path) -> None:
    text = HEAD + "@feature(payments, by=customer)\ndef g(tx): return tx.count()\n(f,) = on('{}', g)\n"
    buyer, seller = (declared(tmp_path, text.format(role)) for role in ("buyer", "seller"))
    assert list(fingerprint_outputs(buyer, {})) == ["buyer__g"]
    assert len({fingerprint_feature(one, {}) for one in (buyer, seller, buyer.feature)}) == 3


def test_what_a_query_computes_counts_and_where_its_files_lie_does_not() -> None:
    class Row(BaseModel):
        shop: str
        event_time: datetime

    def of(query: str) -> str:
        return fingerprint_source(Source("rows", schema=Row, query=query, event_time="event_time"))

    here = of("select shop, day as event_time from read_csv('/here/rows.csv')")
    assert here == of("select shop,  day as event_time\nfrom read_csv('there/rows.csv')")
    assert here != of("select upper(shop) as shop, day as event_time from read_csv('/here/rows.csv')")
    assert here != of("select shop, day as event_time from read_csv('/here/others.csv')")
