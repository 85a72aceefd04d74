"""Who may look: this machine's browser that was given the address, and nobody through it.

Loopback alone does not keep others out. Any page in the same browser can send requests to it, and by a name of its own
that resolves to 127.0.0.1 could even read the answers; so the Host must be ours, and the path must begin with a token
that only the printed address holds. (A cookie would go to every server on 127.0.0.1: cookies know no ports.)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guard:
    """Lets a GET or HEAD through that names our host and begins with the token, which the app then does not see in it.

    `styles` and `scripts` are the page's own inline ones; the browser is told to obey no others.
    """

    def __init__(
        self, app: ASGIApp, *, token: str, hosts: Iterable[str], styles: list[str], scripts: list[str]
    ) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = frozenset(hosts)
        self._headers = {
            "content-security-policy": "; ".join(
                [
                    "default-src 'none'",
                    f"style-src {_hashes(styles)}",
                    f"script-src {_hashes(scripts)}",
                    "connect-src 'self'",
                    "img-src data:",  # the empty icon
                    "base-uri 'none'",
                    "form-action 'none'",
                    "frame-ancestors 'none'",
                ]
            ),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_guarded)
            return
        await self._app({**scope, "root_path": f"/{self._token.decode()}"}, receive, send_guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        if Headers(scope=scope).get("host", "").lower() not in self._hosts:
            return PlainTextResponse("not this host\n", 421)
        given = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        if not hmac.compare_digest(given.encode(errors="replace"), self._token):
            return PlainTextResponse("the address that the monitor printed is needed, with its token\n", 403)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("the monitor only shows\n", 405, {"allow": "GET, HEAD"})
        return None


def _hashes(texts: list[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
