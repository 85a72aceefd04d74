"""Tells somebody that a run has ended: a command of the file that the run is described in, or a web hook.

A notifier never changes how a run ends: what goes wrong with it is a line in the log.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from otters_lab.core.consent import require_trust
from otters_lab.core.errors import InputError, RefusedError
from otters_lab.core.log import logger
from otters_lab.core.tomlfile import StrictModel

TIMEOUT_S = 10.0


class NotifyTable(StrictModel):
    """Who is told when a run has ended. `command`: a program and its arguments, given the facts as JSON on its
    standard input, after ``otters-lab trust`` of the file that names it. `webhook_env`: the environment variable that
    holds the address they are posted to, since an address may be a secret.
    """

    command: Annotated[list[str], Field(min_length=1)] | None = None
    webhook_env: str | None = None

    @model_validator(mode="after")
    def _somebody(self) -> NotifyTable:
        if self.command is None and self.webhook_env is None:
            raise ValueError("neither command nor webhook_env is given")
        return self


class Notifier:
    """Of the `[notify]` table of a file, checked before the run begins: what could not be told at its end is known at
    its start.

    Raises
    ------
    InputError
        if the environment variable of the web hook is not set.
    RefusedError
        if there is a command, and the user has not allowed this file to run one.
    """

    def __init__(self, table: NotifyTable | None, path: Path) -> None:
        self._table = table
        self._url: str | None = None
        if self._table is None:
            return
        if self._table.command is not None:
            try:
                require_trust(path)
            except RefusedError:
                raise RefusedError(
                    f"{path}: [notify] runs a command; read it, then allow it: otters-lab trust {path}"
                ) from None
        name = self._table.webhook_env
        if name is not None:
            self._url = os.environ.get(name)
            if not self._url or not self._url.startswith(("https://", "http://")):
                raise InputError("is not set to a web address", file=path, key=f"notify.webhook_env ({name})")

    def tell(self, outcome: str, facts: Mapping[str, Any]) -> None:
        """`outcome`: "finished", "failed", "interrupted" or "budget"; the facts go along as JSON."""
        if self._table is None:
            return
        message = json.dumps({"outcome": outcome, **facts}, default=str)
        if self._table.command is not None:
            try:
                subprocess.run(self._table.command, input=message, text=True, timeout=TIMEOUT_S, check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                logger.warning("notify.command: %s", error)
        if self._url is not None:
            try:
                request = urllib.request.Request(
                    self._url, message.encode(), {"Content-Type": "application/json"}, method="POST"
                )
                urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
            except (OSError, ValueError, http.client.HTTPException) as error:  # the address may hold a secret
                logger.warning("notify.webhook_env: %s", type(error).__name__)

    def tell_of(self, error: BaseException, facts: Mapping[str, Any]) -> None:
        """Tells that a run was ended by an error, or by its user."""
        outcome = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        self.tell(outcome, {**facts, "detail": str(error)})
