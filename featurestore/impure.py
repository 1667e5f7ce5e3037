"""What a feature may not use (S14), by the names that things are known under, and what to use instead.

A name is ``module.qualified_name``, without leading underscores and without the platform's own modules: what
``os.urandom`` gives is ``posix.urandom`` to Python and ``os.urandom`` here.
"""

import functools
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any


@dataclass(frozen=True)
class Impurity:
    """A kind of thing that makes a feature another function each time: what it does, and what to do instead."""

    does: str
    instead: str


@dataclass(frozen=True)
class Symbol:
    """Something that is imported inside a function and not loaded yet, by its dotted name."""

    name: str


CLOCK = Impurity("reads the clock", "The row's own time is tx.as_of in a window, a parameter as_of in a row feature.")
RANDOM = Impurity("is random", "Draw beforehand, and give what was drawn as a column of events or a request field.")
HASH = Impurity("differs from process to process", "zlib.crc32 and hashlib give the same everywhere.")
NETWORK = Impurity("uses the network", "Load what it answers as events of a source, or pass it as a request field.")
DATABASE = Impurity("reads a database", "Make what it reads a source, with query= or path=.")
FILES = Impurity("uses files", "Make the file a source, or read it into a constant of the module.")
ENVIRONMENT = Impurity("depends on the environment", "Say it as a constant in the definitions.")
PROGRAM = Impurity("runs other programs", "Load what they give as events of a source.")
HIDDEN = Impurity("hides what is computed", "Write the expression as it is: a feature is known by its code.")
STATE = Impurity("", "A feature depends on what it is given alone: what outlives one call makes the next differ.")

_PURE_PATH = "|".join(re.escape(name) for name in dir(PurePath))
_DATABASES = "sqlite3|duckdb|psycopg2?|pymysql|MySQLdb|sqlalchemy|pymongo|redis|asyncpg|snowflake|google.cloud.bigquery"
_NETWORK = (
    "requests|httpx|httpcore|urllib.request|urllib3|socket|ssl|http.client|aiohttp|ftplib|smtplib|imaplib|poplib"
    "|xmlrpc.client|websockets?|websocket|grpc|boto3|botocore|paramiko"
)
_NAMES: tuple[tuple[Impurity, str], ...] = (
    (CLOCK, r"(.+\.)?(now|utcnow|utc_now|today)"),
    (CLOCK, r"time\.(time|monotonic|perf_counter|process_time|thread_time|clock_gettime)(_ns)?"),
    (ENVIRONMENT, r"time\.(localtime|mktime|ctime|tzset)"),
    (RANDOM, r"(random|numpy\.random|secrets)\..+|uuid\.uuid[14678]|os\.(urandom|getrandom)"),
    (RANDOM, r"torch\.(rand|normal|bernoulli|multinomial).*"),
    (HASH, r"builtins\.(hash|id)"),
    (HIDDEN, r"builtins\.(eval|exec|compile|__import__|input|globals|locals|vars)|importlib\.(import_module|reload)"),
    (NETWORK, rf"({_NETWORK.replace('.', '[.]')})(\..+)?"),
    (DATABASE, rf"({_DATABASES.replace('.', '[.]')})(\..+)?"),
    (PROGRAM, r"(subprocess|multiprocessing|pty)(\..+)?|os\.(system|popen|fork|forkpty|kill|(spawn|exec).*)"),
    (
        ENVIRONMENT,
        r"os\.(Environ|environ|environb)(\..+)?|os\.(getenvb?|putenv|unsetenv|uname|cpu_count|get(?!random).*)",
    ),
    (ENVIRONMENT, r"(platform|getpass|locale)\..+|sys\.(argv|path|modules|flags)|threading\..+|gc\..+"),
    (FILES, r"io\.(open|open_code|FileIO)|numpy\.(load|loadtxt|genfromtxt|fromfile|memmap|save.*)"),
    (FILES, rf"pathlib\.(local\.)?(Path|PosixPath|WindowsPath)\.(?!({_PURE_PATH})$).+"),
    (FILES, r"(pandas|polars|pyarrow|dask|geopandas|xarray)\.(.+\.)?(read|scan)_\w+"),
    (FILES, r"(glob|shutil|tempfile|fileinput|linecache|mmap|pkgutil|joblib)\..+|importlib\.resources\..+"),
    (FILES, r"os\.(?!path$|path\.|fspath$|fsencode$|fsdecode$|strerror$|PathLike$|error$).+"),
    (FILES, r"os\.path\.(exists|lexists|is\w+(?<!isabs)|get\w+|same\w+|abspath|realpath|expanduser|expandvars)"),
)
_RULES = tuple((impurity, re.compile(pattern)) for impurity, pattern in _NAMES)
_FEWEST: Mapping[str, tuple[int, Impurity]] = {
    "time.gmtime": (1, CLOCK),
    "time.asctime": (1, CLOCK),
    "time.strftime": (2, CLOCK),
    "datetime.datetime.fromtimestamp": (2, ENVIRONMENT),
    "datetime.date.fromtimestamp": (2, ENVIRONMENT),
}
"""Called with fewer arguments they take the rest from the clock, or from the machine's time zone."""
_PARSES_NOW = frozenset({"numpy.datetime64", "pandas.Timestamp", "pandas.to_datetime"})
_HOMES = {"posix": "os", "nt": "os", "posixpath": "os.path", "ntpath": "os.path", "genericpath": "os.path"}


def impurity_of(value: Any) -> Impurity | None:
    """What is wrong with using a value at all; ``None`` for nothing."""
    return next((found for name in names_of(value) if (found := _ruled(name)) is not None), None)


def impurity_of_call(value: Any, arguments: int, first: Any) -> Impurity | None:
    """What is wrong with calling it with so many arguments, the first of which is this constant."""
    for name in names_of(value):
        fewest, impurity = _FEWEST.get(name, (0, CLOCK))
        if arguments < fewest:
            return impurity
        top, _, last = name.partition(".")
        short = f"{top}.{last.rpartition('.')[2]}"
        if short in _PARSES_NOW and isinstance(first, str) and first.lower() in ("now", "today"):
            return CLOCK
    return None


def names_of(value: Any) -> Iterator[str]:
    """Names of a value: its own for a module or function, those of all its classes for a class, method or instance."""
    if isinstance(value, Symbol):
        yield value.name
    elif isinstance(value, types.ModuleType):
        yield value.__name__
    elif isinstance(value, type):
        yield from (_named(one.__module__, one.__qualname__) for one in value.__mro__ if one is not object)
    elif hasattr(value, "__qualname__"):
        owner = getattr(value, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            yield _named(str(getattr(value, "__module__", None)), value.__qualname__)
            return
        kinds = owner.__mro__ if isinstance(owner, type) else type(owner).__mro__
        yield from (
            _named(one.__module__, f"{one.__qualname__}.{value.__name__}") for one in kinds if one is not object
        )
    else:
        yield from (_named(one.__module__, one.__qualname__) for one in type(value).__mro__ if one is not object)


@functools.lru_cache(maxsize=4096)
def _ruled(name: str) -> Impurity | None:
    return next((impurity for impurity, pattern in _RULES if pattern.fullmatch(name)), None)


def _named(module: str, qualified: str) -> str:
    home = ".".join(part.lstrip("_") for part in _HOMES.get(module, module).split("."))
    return f"{home}.{qualified.lstrip('_')}"
