"""What stands before the page: only who knows the token gets in, only under this machine's own name, and the browser is
told to load nothing from elsewhere and to keep nothing.

A page on the web that has its own name lead to 127.0.0.1 (DNS rebinding) is known by the Host header that it sends.
"""

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_SEALED = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """An ASGI application around another, which sees paths without the token: /TOKEN/item/3 as /item/3.

    Answers 403 where the token, compared in constant time, is missing or wrong, where the Host header is none of
    127.0.0.1 and localhost with `port`, and where the Origin header names another place.
    """

    def __init__(self, application: Application, *, token: str, port: int) -> None:
        self._application = application
        self._token = token.encode()
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # no web sockets
            return
        _, token, *rest = (*scope["path"].split("/", 2), "")[:3]

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_SEALED]}
            await send(message)

        if not secrets.compare_digest(token.encode(), self._token) or not self._is_from_here(scope["headers"]):
            start = {"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]}
            await sealed(start)
            await sealed({"type": "http.response.body", "body": b"this address is not the one that was given out\n"})
            return
        path = f"/{rest[0]}"
        await self._application({**scope, "path": path, "raw_path": path.encode()}, receive, sealed)

    def _is_from_here(self, headers: list[tuple[bytes, bytes]]) -> bool:
        hosts = [value for name, value in headers if name == b"host"]
        origins = [value for name, value in headers if name == b"origin"]
        return len(hosts) == 1 and hosts[0] in self._hosts and all(one == b"http://" + hosts[0] for one in origins)
