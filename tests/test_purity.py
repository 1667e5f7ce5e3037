"""What the syntax trees of features tell of their purity (S14)."""
# ruff: noqa: E501 - a definition stands on one line, beside its kind

from pathlib import Path

import pytest
from declaring import HEAD, declared, registry_of

from featurestore.errors import DefinitionProblems
from featurestore.impure import CLOCK, DATABASE, ENVIRONMENT, FILES, HASH, HIDDEN, NETWORK, PROGRAM, RANDOM, Impurity
from featurestore.purity import findings

IMPORTS = """
import bisect, collections, functools, glob, hashlib, importlib, io, itertools, json, locale, math, os, pathlib
import platform, random, re, secrets, socket, sqlite3, subprocess, sys, time, urllib.parse, urllib.request, uuid
import zlib
import datetime as clocks
import numpy as np
import os as system
import pandas as pd
from datetime import UTC, date, datetime, timedelta
from datetime import datetime as dt
from functools import cache, lru_cache, partial, wraps
from os import environ, urandom
from os.path import exists, join
from pathlib import Path, PurePath
from random import random as chance
from time import perf_counter, time as seconds
from featurestore.definition import feature
FOLDER = Path("somewhere")
SEEN, COUNTS, LIMITS = [], {}, {"low": 1.0}
"""


def found_in(folder: Path, text: str) -> list[tuple[int, Impurity, str]]:
    """Line within ``text``, impurity and words of each finding in the function ``f``."""
    skipped = IMPORTS.count("\n")
    return [(one.line - skipped, one.impurity, one.code) for one in findings(declared(folder, IMPORTS + text))]


@pytest.mark.parametrize(
    ("expression", "impurity", "code"),
    [
        ("datetime.now().hour", CLOCK, "datetime.now()"),
        ("dt.now(UTC).hour", CLOCK, "dt.now()"),
        ("clocks.datetime.utcnow().hour", CLOCK, "clocks.datetime.utcnow()"),
        ("(x - date.today()).days", CLOCK, "date.today()"),
        ("time.time()", CLOCK, "time.time()"),
        ("seconds()", CLOCK, "seconds()"),
        ("perf_counter()", CLOCK, "perf_counter()"),
        ("time.time_ns()", CLOCK, "time.time_ns()"),
        ("pd.Timestamp.now().hour", CLOCK, "pd.Timestamp.now()"),
        ("pd.Timestamp('now').hour", CLOCK, "pd.Timestamp('now')"),
        ("np.datetime64('today')", CLOCK, "np.datetime64('today')"),
        ("time.gmtime().tm_hour", CLOCK, "time.gmtime()"),
        ("list(map(dt.now, x))", CLOCK, "dt.now"),
        ("getattr(datetime, 'now')()", CLOCK, "getattr(datetime, 'now')"),
        ("time.localtime(x).tm_hour", ENVIRONMENT, "time.localtime()"),
        ("datetime.fromtimestamp(x).hour", ENVIRONMENT, "datetime.fromtimestamp(x)"),
        ("random.random()", RANDOM, "random.random()"),
        ("chance()", RANDOM, "chance()"),
        ("random.Random(7).random()", RANDOM, "random.Random()"),
        ("np.random.rand()", RANDOM, "np.random.rand()"),
        ("np.random.default_rng(0).normal()", RANDOM, "np.random.default_rng()"),
        ("uuid.uuid4().hex", RANDOM, "uuid.uuid4()"),
        ("secrets.token_hex()", RANDOM, "secrets.token_hex()"),
        ("os.urandom(1)[0]", RANDOM, "os.urandom()"),
        ("urandom(1)[0]", RANDOM, "urandom()"),
        ("hash(x) % 10", HASH, "hash()"),
        ("id(x)", HASH, "id()"),
        ("urllib.request.urlopen(x).read()", NETWORK, "urllib.request.urlopen()"),
        ("socket.gethostname()", NETWORK, "socket.gethostname()"),
        ("sqlite3.connect(x).total_changes", DATABASE, "sqlite3.connect()"),
        ("open(x).read()", FILES, "open()"),
        ("io.open(x).read()", FILES, "io.open()"),
        ("Path(x).read_text()", FILES, "Path(x).read_text()"),
        ("FOLDER.exists()", FILES, "FOLDER.exists()"),
        ("(FOLDER / x).read_bytes()", FILES, "(FOLDER / x).read_bytes()"),
        ("pd.read_csv(x).size", FILES, "pd.read_csv()"),
        ("np.load(x).sum()", FILES, "np.load()"),
        ("exists(x)", FILES, "exists()"),
        ("os.listdir(x)", FILES, "os.listdir()"),
        ("system.stat(x).st_size", FILES, "system.stat()"),
        ("glob.glob(x)", FILES, "glob.glob()"),
        ("os.environ['LIMIT']", ENVIRONMENT, "os.environ"),
        ("environ.get('LIMIT')", ENVIRONMENT, "environ.get()"),
        ("os.getenv('LIMIT')", ENVIRONMENT, "os.getenv()"),
        ("os.getpid()", ENVIRONMENT, "os.getpid()"),
        ("platform.node()", ENVIRONMENT, "platform.node()"),
        ("len(sys.argv)", ENVIRONMENT, "sys.argv"),
        ("subprocess.run(x).returncode", PROGRAM, "subprocess.run()"),
        ("os.system(x)", PROGRAM, "os.system()"),
        ("eval(x)", HIDDEN, "eval()"),
        ("importlib.import_module(x).y", HIDDEN, "importlib.import_module()"),
    ],
)
def test_what_changes_by_itself_is_found_by_any_name(
    tmp_path: Path, expression: str, impurity: Impurity, code: str
) -> None:
    assert found_in(tmp_path, f"def f(x):\n    return {expression}\n") == [(2, impurity, code)]


@pytest.mark.parametrize(
    ("body", "line", "impurity"),
    [
        ("from datetime import datetime as moment\n    return moment.now().hour", 3, CLOCK),
        ("import time as t\n    return t.time()", 3, CLOCK),
        ("import requests\n    return requests.get(x).status_code", 3, NETWORK),
        ("from httpx import get\n    return get(x).status_code", 3, NETWORK),
        ("t = time\n    return t.time()", 3, CLOCK),
        ("p = Path(x)\n    return p.stat().st_size", 3, FILES),
        ("with open(x) as file:\n        return file.read()", 2, FILES),
        ("return sorted(x, key=lambda one: random.random())", 2, RANDOM),
        ("def inner(at=dt.now()):\n        return at\n    return inner()", 2, CLOCK),
        ("return [y for y in x if y < dt.now()]", 2, CLOCK),
        ("return x if (t := time) is None else t.time()", 2, CLOCK),
    ],
)
def test_names_of_the_functions_own_are_followed(tmp_path: Path, body: str, line: int, impurity: Impurity) -> None:
    assert [one[:2] for one in found_in(tmp_path, f"def f(x):\n    {body}\n")] == [(line, impurity)]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("def f(x):\n    global COUNT\n    COUNT = x\n    return x\n", "COUNT"),
        ("def f(x):\n    global COUNT\n    COUNT += x\n    return COUNT\n", "COUNT"),
        ("def make():\n    n = 0\n    def f(x):\n        nonlocal n\n        n += 1\n        return n\n    return f\nf = make()\n", "n"),
        ("def f(x):\n    SEEN.append(x)\n    return len(SEEN)\n", "SEEN"),
        ("def f(x):\n    COUNTS[x] = COUNTS.get(x, 0)\n    return x\n", "COUNTS"),
        ("def f(x):\n    COUNTS[x] += 1\n    return x\n", "COUNTS"),
        ("def f(x):\n    del COUNTS[x]\n    return x\n", "COUNTS"),
        ("def f(x):\n    return COUNTS.setdefault(x, len(COUNTS))\n", "COUNTS"),
        ("def f(x):\n    LIMITS['low'].real = x\n    return x\n", "LIMITS"),
        ("def f(x):\n    f.calls = x\n    return x\n", "f"),
        ("def f(x, seen=[]):\n    seen.append(x)\n    return len(seen)\n", "seen"),
        ("def f(x, *, seen={}):\n    seen[x] = 1\n    return len(seen)\n", "seen"),
        ("NEXT = itertools.count()\ndef f(x):\n    return next(NEXT)\n", "NEXT"),
        ("def f(x):\n    mine = SEEN\n    mine.append(x)\n    return len(mine)\n", "mine"),
        ("class Tally:\n    n = 0\ndef f(x):\n    Tally.n += 1\n    return Tally.n\n", "Tally"),
        ("class Tally:\n    n = 0\n    def up(self):\n        self.n += 1\n        return self.n\nT = Tally()\ndef f(x):\n    return T.up()\n", "self"),
        ("def f(x):\n    math.tau = 6\n    return x\n", "math"),
    ],
)  # fmt: skip
def test_what_outlives_the_call_may_not_be_changed(tmp_path: Path, text: str, what: str) -> None:
    found = findings(declared(tmp_path, IMPORTS + text))
    assert [one.does for one in found] == [f"changes {what}, which outlives the call"]


@pytest.mark.parametrize(
    "text",
    [
        "def f(tx):\n    return tx.now.max() + tx.time.count() + tx['today'].sum()\n",
        "def f(now, time, random):\n    return now.today() + time.time() + random.random()\n",
        "def f(x):\n    return datetime.fromisoformat(x).hour + datetime.strptime(x, '%Y').year\n",
        "def f(x):\n    return dt.fromtimestamp(x, UTC).hour + dt.fromtimestamp(x, tz=UTC).day\n",
        "def f(x):\n    return time.gmtime(x).tm_hour + len(time.strftime('%Y', x))\n",
        "def f(x):\n    return (x - datetime(2026, 1, 1)) / timedelta(days=1)\n",
        "def f(x, random_state=0):\n    seed = 0\n    return scale(x, random_state=0) + seed\ndef scale(x, random_state):\n    return x\n",
        "def f(x):\n    return pd.Timestamp(x).hour + pd.to_datetime('2026-01-01').day + np.log1p(x)\n",
        "def f(x):\n    return urllib.parse.quote(x) + os.path.join(x, 'y') + join(x, 'z') + os.sep\n",
        "def f(x):\n    return (FOLDER / x).suffix + Path(x).name + PurePath(x).stem + FOLDER.as_posix()\n",
        "def f(x):\n    return zlib.crc32(x.encode()) + len(hashlib.sha256(x.encode()).hexdigest()) + uuid.uuid5(x, x).int\n",
        "def f(x):\n    hash = len\n    open = LIMITS['low']\n    return hash(x) + open\n",
        "def f(x):\n    seen = []\n    seen.append(x)\n    counts = dict(LIMITS)\n    counts['a'] = 1\n    counts.update(LIMITS)\n    return len(seen)\n",
        "def f(x):\n    seen = list(SEEN)\n    seen.sort()\n    other = SEEN.copy()\n    other.append(1)\n    return len(seen)\n",
        "def f(x):\n    n = 0\n    def add():\n        nonlocal n\n        n += 1\n    add()\n    return n\n",
        "@cache\ndef g(x):\n    return x\ndef f(x):\n    return g(x)\n",
        "def f(x):\n    return next(iter(LIMITS)) + next(one for one in x)\n",
        "def f(x: 'datetime.now()', y: os.PathLike = None) -> 'random.random()':\n    return x\n",
        "FOLDER = os.environ.get('FOLDER', 'a')\nTABLE = list(pd.DataFrame({'a': [1]}).a)\ndef f(x):\n    return FOLDER + TABLE\n",
        "class Scale:\n    def __init__(self, by):\n        self.by = by\n    def of(self, x):\n        return self.by * x\nS = Scale(2)\ndef f(x):\n    return S.of(x) + Scale(3).of(x)\n",
        "def load():\n    return Path(__file__).read_text()\nTEXT = load()\ndef f(x):\n    return TEXT + x\n",
        "def f(x):\n    def now():\n        return x\n    return now()\n",
        "def now(x):\n    return x\ndef f(x):\n    return now(x)\n",
    ],
)  # fmt: skip
def test_what_only_looks_impure_is_let_pass(tmp_path: Path, text: str) -> None:
    assert found_in(tmp_path, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "def g():\n    return dt.now()\ndef f(x):\n    return g()\n",
        "def h():\n    return dt.now()\ndef g():\n    return h()\ndef f(x):\n    return g()\n",
        "@lru_cache(maxsize=None)\ndef g():\n    return dt.now()\ndef f(x):\n    return g()\n",
        "def g(x, y):\n    return dt.now()\nf = partial(g, 1)\n",
        "def g(x):\n    return dt.now()\ndef f(x):\n    return list(map(g, x))\n",
        "class G:\n    @property\n    def at(self):\n        return dt.now()\ndef f(x):\n    return G().at\n",
        "class G:\n    def at(self):\n        return dt.now()\nONE = G()\ndef f(x):\n    return ONE.at()\n",
        "def wrap(function):\n    @wraps(function)\n    def inner(*given):\n        return dt.now()\n    return inner\n@wrap\ndef f(x):\n    return x\n",
        "def wrap(function):\n    @wraps(function)\n    def inner(*given):\n        return function(*given)\n    return inner\n@wrap\ndef f(x):\n    return dt.now()\n",
        "g = lambda x: dt.now()\ndef f(x):\n    return g(x)\n",
        "NOW = dt.now()\ndef f(x):\n    return x - NOW\n",
        "@feature\ndef g(x: float) -> float:\n    return dt.now().second\ndef f(x):\n    return g(x)\n",
    ],
)  # fmt: skip
def test_helpers_are_read_through_what_wraps_them(tmp_path: Path, text: str) -> None:
    assert [one[1:] for one in found_in(tmp_path, text)] == [(CLOCK, "dt.now()")]


def test_a_helper_of_another_module_is_read(tmp_path: Path) -> None:
    helpers = "import time\ndef age(x):\n    return time.time() - x\n"
    using = HEAD + "import helpers\n@feature\ndef f(amount: float) -> float:\n    return helpers.age(amount)\n"
    with pytest.raises(DefinitionProblems) as caught:
        registry_of(tmp_path, helpers=helpers, using=using)
    (problem,) = caught.value.problems
    assert f"{tmp_path}/definitions/helpers.py:3: time.time() reads the clock, in feature 'f' through age()." in problem


def test_all_are_told_at_once_each_place_once(tmp_path: Path) -> None:
    text = HEAD + (
        "import random, time\n"
        "def helper():\n    return time.time()\n"
        "@feature\ndef a(amount: float) -> float:\n    return helper()\n"
        "@feature\ndef b(amount: float) -> float:\n    return helper() + random.random()\n"
        "@feature(payments, by=customer)\ndef c(tx):\n    return tx.amount.max() * helper() \n"
        "@feature(payments, by=customer)\ndef d(tx):\n    return tx.amount.apply(lambda x: helper(), returns=float)\n"
        "@feature(payments, by=nobody)\ndef e(tx):\n    return tx.count()\n"
    )
    with pytest.raises(DefinitionProblems) as caught:
        registry_of(tmp_path, payments=text.replace("@feature(payments, by=nobody)\ndef e", "def e"))
    first, second = (one.replace(f"{tmp_path}/definitions/payments.py", "p") for one in caught.value.problems)
    line = HEAD.count("\n")
    assert first.startswith(
        f"p:{line + 3}: time.time() reads the clock, in features 'a' through helper(), 'b' through helper(), 'c' "
        "through helper() and 1 more. The row's own time is tx.as_of in a window"
    )
    assert second.startswith(f"p:{line + 9}: random.random() is random, in feature 'b'. Draw beforehand")


def test_a_counter_in_a_closure_is_refused(tmp_path: Path) -> None:
    text = HEAD + (
        "def make():\n    n = 0\n    @feature\n    def f(amount: float) -> float:\n        nonlocal n\n"
        "        n += 1\n        return amount + n\n    return f\nf = make()\n"
    )
    with pytest.raises(DefinitionProblems, match=r":\d+: n changes n, which outlives the call, in feature 'f'"):
        registry_of(tmp_path, payments=text)


def test_a_definition_in_a_notebook_or_list_is_refused_too() -> None:
    import time

    from featurestore import feature
    from featurestore.registry import Registry

    @feature
    def late(amount: float) -> bool:
        return amount < time.time()

    with pytest.raises(
        DefinitionProblems, match=r"test_purity.py:\d+: time.time\(\) reads the clock, in feature 'late'"
    ):
        Registry.of([late])
