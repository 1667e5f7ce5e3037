"""The least that a FastAPI route can cost: it checks the same body, and answers with the same bytes every time.

``python -m benchmarks.constant ANSWER WORKERS`` serves it as our server is served, and prints its address.
"""

import os
import socket
import sys
from pathlib import Path

VARIABLE = "BENCHMARKS_ANSWER"


def application() -> object:
    """The application; a worker makes its own."""
    from fastapi import FastAPI, Response
    from pydantic import BaseModel

    class Row(BaseModel):
        customer_id: str

    answer = Path(os.environ[VARIABLE]).read_bytes()
    app = FastAPI()

    @app.post("/features/plain")
    async def features(row: Row) -> Response:  # noqa: ARG001 - it is checked, which is its cost
        return Response(answer, media_type="application/json")

    return app


def main() -> None:
    """Serve until a signal says stop."""
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    os.environ[VARIABLE], workers = sys.argv[1], int(sys.argv[2])
    bound = socket.create_server(("127.0.0.1", 0), backlog=2048)
    bound.set_inheritable(True)
    config = uvicorn.Config(
        "benchmarks.constant:application",
        factory=True,
        ws="none",
        workers=workers,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        timeout_keep_alive=30,
    )
    sys.stdout.write(f"http://127.0.0.1:{bound.getsockname()[1]}\n")
    sys.stdout.flush()
    if workers > 1:
        Multiprocess(config, sockets=[bound]).run()
    else:
        uvicorn.Server(config).run(sockets=[bound])


if __name__ == "__main__":
    main()
