"""``GET /ui`` and the pages below it.

A page asks for the same scope as the JSON that it shows; a browser may send the key as the password of HTTP Basic. An
explanation shows raw events, which no other route does: where keys are in use, it needs the scope ``admin``.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Depends, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from featurestore.errors import FeatureStoreError, RequestError
from featurestore.explain import WORDS, Explanation
from featurestore.lookup import Vector
from featurestore.server import failure, shapes
from featurestore.server.serving import Serving
from featurestore.server.ui import form
from featurestore.server.ui.catalogue import Catalogue
from featurestore.server.ui.chart import chart_of
from featurestore.server.ui.drawing import Pages
from featurestore.status import status

Answer = Callable[[Request], Response]
_EVENTS = 200  # of a window, the newest: a page is read, not scrolled for an hour


def add(app: FastAPI, serving: Serving) -> None:
    """Add the pages."""
    site = Site(serving)
    needs = [Depends(serving.access.needs("read", page=True))]
    answers: dict[str, Answer] = {
        "/ui": site.catalogue,
        "/ui/features/{name}": site.feature,
        "/ui/services/{name}": site.service,
        "/ui/sources/{name}": site.source,
        "/ui/models/{name}": site.model,
        "/ui/health": site.health,
        "/ui/style.css": functools.partial(site.file, "style.css"),
        "/ui/icon.svg": functools.partial(site.file, "icon.svg"),
    }
    for path, answer in answers.items():
        handler = _in_a_thread(serving, site, answer)
        app.add_api_route(
            path, handler, methods=["GET"], dependencies=needs, response_model=None, include_in_schema=False
        )


class Site:
    """The pages of one store."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._store = serving.store
        self._catalogue = Catalogue(serving.store)
        self._pages = Pages()
        self._shapes = {name: shapes.request_of(plan) for name, plan in serving.plans().items()}

    def catalogue(self, request: Request) -> Response:
        """Everything that is declared, or that a search finds."""
        return self._pages.page("catalogue", self._catalogue.all(request.query_params.get("q", "").strip()))

    def feature(self, request: Request) -> Response:
        """One feature."""
        return self._pages.page("feature", self._catalogue.feature(request.path_params["name"]))

    def source(self, request: Request) -> Response:
        """One source."""
        return self._pages.page("source", self._catalogue.source(request.path_params["name"]))

    def model(self, request: Request) -> Response:
        """One model."""
        return self._pages.page("model", self._catalogue.model(request.path_params["name"]))

    def health(self, _: Request) -> Response:
        """What the store holds, and whether it can answer."""
        facts = status(self._store) | {"draining": self._serving.draining, "keys": self._serving.access.asks}
        ready = not self._serving.draining and all(one["filled"] for one in facts["views"])
        return self._pages.page("health", facts | {"ready": ready, "now": self._store.now()})

    def service(self, request: Request) -> Response:
        """One service, with its form; once that has been sent, with the answer."""
        facts = self._catalogue.service(request.path_params["name"])
        shape = self._shapes[facts["name"]]
        asked = form.read(shape, request.query_params)
        errors, vector, explained = dict(asked.errors), None, None
        if asked.sent and not errors:
            try:
                vector = self._store.lookup(facts["name"], asked.row, as_of=asked.as_of)
                if request.state.admin:  # no other route gives raw events away
                    explained = self._explain(facts["name"], asked, vector)
            except RequestError as error:
                errors = form.problems(error)
        told = {
            "asked": asked,
            "fields": form.fields(shape, asked, errors),
            "errors": errors,
            "vector": vector,
            "explained": explained,
            "charts": {} if explained is None else _charts(explained),
            "body": form.body(shape, asked),
            "link": functools.partial(form.link, asked),
            "origin": str(request.base_url).rstrip("/"),
            "words": WORDS,
        }
        return self._pages.page("service", facts | told, 422 if errors else 200)

    def file(self, name: str, _: Request) -> Response:
        """A file that pages use."""
        return self._pages.file(name)

    def problem(self, error: FeatureStoreError) -> Response:
        """Answer for an error of the store's."""
        code, _, words = failure.verdict(error)
        return self._pages.page("problem", {"status": code, "words": words or str(error)}, code)

    def _explain(self, service: str, asked: form.Asked, vector: Vector) -> Explanation:
        """One of the vector's values, as of the same instant."""
        feature = asked.explain or next(iter(vector))
        return self._store.explain(service, feature, asked.row, as_of=vector.as_of, limit=_EVENTS)


def _charts(explained: Explanation) -> dict[str, Any]:
    return {one.name: chart_of(one.look) for one in explained.steps if one.look is not None}


def _in_a_thread(serving: Serving, site: Site, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        try:
            return await serving.threads.run(lambda: answer(request))
        except FeatureStoreError as error:
            if failure.verdict(error).status >= 500:  # noqa: PLR2004 - the server's own fault
                request.state.where = failure.where(error)
            return site.problem(error)

    return page
