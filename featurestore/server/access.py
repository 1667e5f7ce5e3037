"""Who may ask: keys and their scopes, asked for by each route itself and never by its path.

A path can be written in many ways, and what a middleware takes for one route the router may take for another. So a
route names the scope that it needs, and this is asked once the route has been found.
"""

import base64
import binascii
import math
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request

from featurestore import times
from featurestore.apikeys import ApiKey, ApiKeys
from featurestore.server.failure import refused
from featurestore.server.options import is_loopback
from featurestore.server.rates import Rates

Needs = Callable[[Request], Awaitable[None]]
_LONGEST = 4096


class Access:
    """Asks requests for keys.

    Keys are asked for as soon as one has ever been made, and always (``forced``) where others can reach the server.
    Where none is asked for, only names of this machine are answered to: a page of another site whose name has been
    pointed here is not.
    """

    def __init__(self, keys: ApiKeys, *, forced: bool, open_to_all: bool) -> None:
        self._keys = keys
        self._forced = forced
        self._open = open_to_all
        self._rates = Rates()

    @property
    def asks(self) -> bool:
        """Whether a key is needed now. Once it is, it stays so: a file that is lost opens nothing."""
        if not self._forced and not self._open and self._keys.any():
            self._forced = True
        return self._forced

    def needs(self, scope: str, name: str | None = None, *, of: str | None = None, page: bool = False) -> Needs:
        """Make a dependency of a route: its caller's key must have a scope.

        Parameters
        ----------
        scope
            Such as ``read``.
        name
            Name of the one feature service, source or model that is asked for, if it is one.
        of
            The same, where the path has the name: which of its parameters.
        page
            Whether a browser may ask.

        Raises
        ------
        HTTPException
            When it is run: 401 without a key that holds, 403 without the scope, 421 under a foreign name, 429 above
            the key's rate.
        """

        async def check(request: Request) -> None:
            if not self.asks:
                if not self._open:
                    _check_host(request)
                request.state.admin = True
                return
            found = self._key(request, page=page)
            request.state.key, request.state.admin = found.id, found.may("admin")
            wait = self._rates.wait(found)
            if wait:
                after = {"Retry-After": str(math.ceil(wait))}
                raise refused(429, "rate", f"This key may ask {found.rate:g} times a second.", headers=after)
            one = name if of is None else request.path_params[of].partition("@")[0]
            if not found.may(scope, one):
                raise refused(403, "forbidden", f"This key has not the scope {scope!r}.")

        return check

    def _key(self, request: Request, *, page: bool) -> ApiKey:
        given = _given(request, page=page)
        found = None
        if len(given) == 1 and len(given[0]) <= _LONGEST:
            found = self._keys.find(given[0], now=times.system_clock())
        if found is None:
            request.state.unread = True
            scheme = 'Basic realm="featurestore", charset="UTF-8"' if page else 'Bearer realm="featurestore"'
            words = "Give an API key that holds: Authorization: Bearer fs_..."
            raise refused(401, "unauthorized", words, headers={"WWW-Authenticate": scheme})
        return found


def _given(request: Request, *, page: bool) -> list[bytes]:
    """All keys in the headers, as bytes: they may be anything."""
    found = []
    headers: Any = request.scope["headers"]
    for name, value in headers:
        if name == b"x-api-key":
            found.append(value)
        elif name == b"authorization":
            scheme, _, rest = value.partition(b" ")
            if page and scheme.lower() == b"basic":
                found.append(_password(rest))
            else:
                found.append(rest.strip() if scheme.lower() == b"bearer" else b"")
    return found


def _password(given: bytes) -> bytes:
    try:
        return base64.b64decode(given.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return b""


def _check_host(request: Request) -> None:
    host = request.headers.get("host", "")
    bare = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if not is_loopback(bare):
        request.state.unread = True
        raise refused(421, "host", "Without keys only names of this machine are answered to, such as localhost.")
