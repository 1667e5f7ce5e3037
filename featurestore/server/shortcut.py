"""Routes of a fixed path that take a body, found by that path: the layers between cost more than to read an entity."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Receive, Scope, Send


class Shortcut:
    """An application as it is, but for such routes, which answer as they would through it.

    Parameters
    ----------
    app
        The application; what its routes raise goes to its exception handlers.
    direct
        Class of the routes, whose endpoints take the request and give the response.
    """

    def __init__(self, app: FastAPI, direct: type[APIRoute]) -> None:
        self._app = app
        self._routes = {
            route.path: route for route in app.routes if isinstance(route, direct) and not route.param_convertors
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if route is None or scope["method"] != "POST" or scope.get("root_path"):
            await self._app(scope, receive, send)
            return
        scope.update(app=self._app, route=route, path_params={})
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except Exception as error:  # noqa: BLE001 - the handlers are of all
            handlers = self._app.exception_handlers
            handler: Any = next(handlers[one] for one in type(error).__mro__ if one in handlers)
            response = await handler(request, error)
        await response(scope, receive, send)
