"""Consent to run a workspace's own code: given once a file, for the bytes it has now.

Workspaces travel by mail and by git; opening one must not run what it holds. Consent lies with the user, not in the
workspace: a JSON list of SHA-256 in the user's configuration folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from otters_lab.core.errors import RefusedError
from otters_lab.core.files import pretty_json, read_bytes, sha256_bytes, write_atomically


def consent_path() -> Path:
    """Where consents are kept: under XDG_CONFIG_HOME or APPDATA, else ~/.config."""
    base = os.environ.get("XDG_CONFIG_HOME") or os.environ.get("APPDATA")
    return (Path(base) if base else Path.home() / ".config") / "otters-lab" / "trusted.json"


def trust(path: Path) -> str:
    """Records consent to run the file as it is now; returns its SHA-256.

    Raises
    ------
    InputError
        if there is no such file.
    """
    digest = sha256_bytes(read_bytes(path))
    known = _known()
    known[digest] = str(path.resolve())
    write_atomically(consent_path(), pretty_json(known))
    return digest


def require_trust(path: Path) -> bytes:
    """The bytes of a file that may be run: exactly those that consent was given for.

    Raises
    ------
    InputError
        if there is no such file.
    RefusedError
        if the user has not consented to it, or it has changed since.
    """
    data = read_bytes(path)
    if sha256_bytes(data) not in _known():
        raise RefusedError(f"{path}: this is code of a workspace; read it, then allow it: otters-lab trust {path}")
    return data


def _known() -> dict[str, str]:
    """SHA-256 -> the path it had; a file that cannot be read holds no consent."""
    try:
        record = json.loads(consent_path().read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in record.items()} if isinstance(record, dict) else {}
