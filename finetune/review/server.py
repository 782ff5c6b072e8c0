"""The page on 127.0.0.1: routes to a `Walk`, behind the `Guard`. The only importer of FastAPI and uvicorn, which are an
extra and loaded when they are asked for.
"""

import importlib
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError, OutOfResources, UnreadableImage, UsageError
from finetune.review.guard import Guard
from finetune.review.walk import Walk

_TEMPLATES = Path(__file__).parent / "templates"
_FILES = {
    "/": ("review.html", "text/html; charset=utf-8"),
    "/review.css": ("review.css", "text/css; charset=utf-8"),
    "/review.js": ("review.js", "text/javascript; charset=utf-8"),
    "/review.svg": ("review.svg", "image/svg+xml"),
}
_PATIENCE = 2  # seconds for answers under way when it ends


def packages() -> tuple[Any, Any, Any]:
    """uvicorn, fastapi and fastapi.responses. Raises UsageError where they are not installed."""
    try:
        return (
            importlib.import_module("uvicorn"),
            importlib.import_module("fastapi"),
            importlib.import_module("fastapi.responses"),
        )
    except ImportError:
        raise UsageError("a review needs fastapi and uvicorn: pip install 'finetune-vision[review]'") from None


class Server:
    """Serves a walk on 127.0.0.1 only, at an address that holds a random token.

    port: 0 takes a free one. The port is taken at once, so that `address` can be opened before `run` is called. Raises
    UsageError without the extra, OutOfResources where the port cannot be had.
    """

    def __init__(self, walk: Walk, *, port: int = 0) -> None:
        uvicorn, self._fastapi, self._responses = packages()
        self._socket = _listening(port)
        port = self._socket.getsockname()[1]
        token = secrets.token_urlsafe(32)
        self.address = f"http://127.0.0.1:{port}/{token}/"
        self._walk = walk
        config = uvicorn.Config(
            Guard(self._application(), token=token, port=port),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_PATIENCE,
        )
        self._server = uvicorn.Server(config)

    def run(self) -> None:
        """Serves until the page or `stop` ends it; a signal ends it too and is then raised as it would be without."""
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """Ends `run`, from another thread or from an answer."""
        self._server.should_exit = True

    def _application(self) -> Any:
        app = self._fastapi.FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        for path, (name, kind) in _FILES.items():
            app.add_api_route(path, self._file(name, kind), response_model=None)
        app.add_api_route("/summary", self._walk.summary)
        app.add_api_route("/item/{number}", self._walk.item)
        app.add_api_route("/item/{number}/decide", self._walk.decide, methods=["POST"])
        app.add_api_route("/undo", self._walk.undo, methods=["POST"])
        app.add_api_route("/image/{number}/{place}", self._picture, response_model=None)
        app.add_api_route("/end", self._end, methods=["POST"])
        app.add_exception_handler(FinetuneError, self._refused)
        return app

    def _file(self, name: str, kind: str) -> Any:
        data = (_TEMPLATES / name).read_bytes()

        def answer() -> Any:
            return self._responses.Response(data, media_type=kind)

        return answer

    def _picture(self, number: int, place: int) -> Any:
        return self._responses.Response(self._walk.picture(number, place), media_type="image/jpeg")

    def _end(self) -> dict[str, Any]:
        self.stop()
        return self._walk.progress()

    async def _refused(self, _request: Any, error: FinetuneError) -> Any:
        status = 404 if isinstance(error, UnreadableImage) else 409
        return self._responses.JSONResponse({"message": str(error)}, status_code=status)


def _listening(port: int) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let others take the port too
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", port))
        found.listen()
    except OSError as error:
        found.close()
        raise OutOfResources(
            f"port {port} of 127.0.0.1 cannot be had ({error.strerror}); name another with --port, or none for any"
        ) from error
    return found
