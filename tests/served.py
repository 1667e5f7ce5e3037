"""A project to serve, and its server: the real process on a free port of this machine."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from featurestore.server.options import Options

PROJECT = '[tool.featurestore]\ndefinitions = "definitions"\nhome = "store"\n'
DEFINITIONS = '''
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from featurestore import Entity, FeatureService, Source, feature


class Payment(BaseModel):
    id: str
    customer: int | None
    shop: str | None = None
    event_time: datetime
    amount: float | None = Field(ge=0)
    units: int | None = None
    online: bool = False


class Asked(BaseModel):
    amount: float = Field(ge=0, le=1e6, description="What the customer is about to pay.")
    units: int = 1
    channel: Literal["web", "app"] = "web"
    urgent: bool = False
    due: datetime | None = None


customer = Entity("customer", key="customer")
shop = Entity("shop", key="shop")
payments = Source("payments", schema=Payment, event_time="event_time", key="id")


@feature(payments, by=customer, windows=["1d", "30d"])
def spent(tx):
    """Money spent."""
    return tx.amount.sum()


@feature(payments, by=customer)
def payments_made(tx):
    """How many payments."""
    return tx.count()


@feature(payments, by=customer)
def last_units(tx):
    return tx.units.last()


@feature(payments, by=customer)
def last_shop(tx):
    return tx.shop.last()


@feature(payments, by=customer)
def last_time(tx):
    return tx.event_time.max()


@feature(payments, by=customer)
def any_online(tx):
    return tx.online.any()


@feature(payments, by=customer)
def spent_by_shop(tx):
    """Money spent in each shop."""
    return tx.group_by("shop").amount.sum()


@feature(payments, by=customer)
def newest_by_shop(tx):
    return tx.group_by("shop").event_time.max()


@feature
def shops(spent_by_shop: dict[str, float]) -> int:
    """How many shops."""
    return len(spent_by_shop)


@feature(payments, by=shop)
def shop_mean(tx):
    """Mean payment in the shop."""
    return tx.amount.mean()


@feature
def share(amount: float, spent_30d: float) -> float | None:
    """This payment against the month's."""
    return amount / spent_30d if spent_30d else None


@feature
def units_doubled(units: int) -> int:
    return units + units


fraud = FeatureService(
    "fraud",
    features=[
        spent, payments_made, last_units, last_shop, last_time, any_online, shop_mean, share, units_doubled,
        spent_by_shop, newest_by_shop, shops,
    ],
    request=Asked,
)
counts = FeatureService("counts", features=[payments_made])
'''
_RUN = "import sys; from featurestore.server import options, process; process.serve(options.Options({}), print)"


def write_project(folder: Path) -> Path:
    """Write the project's files."""
    (folder / "definitions").mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "definitions" / "payments.py").write_text(DEFINITIONS)
    return folder


class Running:
    """A server's process, what it has logged, and a client."""

    def __init__(self, process: subprocess.Popen[bytes], workers: int, project: Path) -> None:
        self.process = process
        self.project = project
        self.log: list[dict[str, Any]] = []
        self._workers = workers
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._ready.wait(180), self.log
        self.url = next(line["url"] for line in self.log if line["event"] == "listening")
        self.port = int(self.url.rsplit(":", 1)[1])
        self.client = httpx.Client(base_url=self.url, timeout=30)

    def post(self, path: str, document: Any, **options: Any) -> httpx.Response:
        """Send JSON."""
        return self.client.post(path, json=document, **options)

    def stop(self) -> int:
        """Ask it to stop, and wait; gives its exit code."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; gives its exit code."""
        code = self.process.wait(30)
        self._reader.join()
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith(b"{"):
                self.log.append(json.loads(line))
            else:
                self.log.append({"event": "text", "text": line.decode()})
            if sum(one["event"] == "started" for one in self.log) == self._workers:
                self._ready.set()
        self._ready.set()


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Running]:
    """Run the server of a project with some :class:`Options` of its own."""
    given: dict[str, Any] = {"project": str(folder), "port": 0} | options
    said = ", ".join(f"{name}={value!r}" for name, value in given.items())
    with begun([sys.executable, "-c", _RUN.format(said)], folder, workers=Options(**given).workers) as one:
        yield one


@contextmanager
def begun(command: list[str], folder: Path, workers: int = 1) -> Iterator[Running]:
    """Run a command that serves, and end it."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        one = Running(process, workers, folder)
        with one.client:
            yield one
        if process.poll() is None:
            one.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        assert process.stderr is not None
        process.stderr.close()
