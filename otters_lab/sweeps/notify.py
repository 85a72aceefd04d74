"""Tells somebody that a sweep has ended: a command of the bench file, or a web hook that the environment names.

A notifier never changes how a sweep ends: what goes wrong with it is a line in the log.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping
from typing import Any

from otters_lab.core.consent import require_trust
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.log import logger
from otters_lab.instruments.benchfile import BenchFile

TIMEOUT_S = 10.0


class Notifier:
    """Of a bench, checked before the sweep begins: what could not be told at its end is known at its start.

    Raises
    ------
    InputError
        if the environment variable of the web hook is not set.
    RefusedError
        if there is a command, and the user has not allowed this bench file to run one.
    """

    def __init__(self, bench: BenchFile) -> None:
        self._table = bench.notify
        self._url: str | None = None
        if self._table is None:
            return
        if self._table.command is not None:
            try:
                require_trust(bench.path)
            except RefusedError:
                raise RefusedError(
                    f"{bench.path}: [notify] runs a command; read it, then allow it: otters-lab trust {bench.path}"
                ) from None
        name = self._table.webhook_env
        if name is not None:
            self._url = os.environ.get(name)
            if not self._url or not self._url.startswith(("https://", "http://")):
                raise InputError("is not set to a web address", file=bench.path, key=f"notify.webhook_env ({name})")

    def tell(self, outcome: str, facts: Mapping[str, Any]) -> None:
        """`outcome`: "finished", "failed", "interrupted" or "budget"; the facts go along as JSON."""
        if self._table is None:
            return
        message = json.dumps({"outcome": outcome, **facts})
        if self._table.command is not None:
            try:
                subprocess.run(self._table.command, input=message, text=True, timeout=TIMEOUT_S, check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            except (OSError, subprocess.SubprocessError) as error:
                logger.warning("notify.command: %s", error)
        if self._url is not None:
            request = urllib.request.Request(
                self._url, message.encode(), {"Content-Type": "application/json"}, method="POST"
            )
            try:
                urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
            except (OSError, ValueError) as error:  # URLError is an OSError; the address may hold a secret
                logger.warning("notify.webhook_env: %s", type(error).__name__)
