"""The digest of a capture's payload: what was measured, however it is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from otters_lab.core.files import canonical_json, sha256_bytes

# Not payload: these say who wrote the file and when, and differ between two captures of the same traces.
NOT_PAYLOAD = ("uid", "header")

_BLOCK = 1024  # traces hashed at a time


class _Variable:
    def __init__(self, dims: tuple[str, ...], units: str) -> None:
        self.dims = dims
        self.units = units
        self.dtype = ""
        self.rows = 0
        self.width: tuple[int, ...] = ()
        self.hash = hashlib.sha256()

    def add(self, block: npt.NDArray[Any]) -> None:
        self.dtype, data = _canonical_bytes(block)
        self.rows += block.shape[0]
        self.width = block.shape[1:]
        self.hash.update(data)

    def summary(self) -> dict[str, Any]:
        return {
            "dims": list(self.dims),
            "dtype": self.dtype,
            "shape": [self.rows, *self.width],
            "units": self.units,
            "sha256": self.hash.hexdigest(),
        }


def _canonical_bytes(block: npt.NDArray[Any]) -> tuple[str, bytes]:
    if block.dtype.kind == "f":
        # One NaN: the bits of a NaN are not part of what was measured.
        plain = np.where(np.isnan(block), np.nan, block)
        return "<f8", np.ascontiguousarray(plain, dtype="<f8").tobytes()
    if block.dtype.kind in "iu":
        return "<i8", np.ascontiguousarray(block, dtype="<i8").tobytes()
    texts = [str(text).encode() for text in block.ravel()]
    return "utf-8", b"".join(len(text).to_bytes(8, "little") + text for text in texts)


class PayloadDigest:
    """Takes variables in blocks of traces, so that nothing need be in memory at once."""

    def __init__(self) -> None:
        self._variables: dict[str, _Variable] = {}

    def add(self, name: str, dims: Iterable[str], units: str, block: npt.NDArray[Any]) -> None:
        """The next traces [trace, ...] of a variable, in order."""
        self._variables.setdefault(name, _Variable(tuple(dims), units)).add(block)

    def hexdigest(self, attributes: Mapping[str, Any]) -> str:
        """SHA-256 over names, types, shapes, units and values of all variables, and the attributes that are payload."""
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in attributes.items()
            if name not in NOT_PAYLOAD
        }
        variables = {name: variable.summary() for name, variable in self._variables.items()}
        return sha256_bytes(canonical_json({"attributes": plain, "variables": variables}))


def dataset_digest(dataset: xr.Dataset) -> str:
    """The payload digest of an open capture, read a block at a time."""
    digest = PayloadDigest()
    for name, variable in dataset.variables.items():
        dims = tuple(str(dim) for dim in variable.dims)
        for start in range(0, variable.shape[0], _BLOCK):
            digest.add(str(name), dims, variable.attrs.get("units", ""), variable[start : start + _BLOCK].to_numpy())
    return digest.hexdigest(dataset.attrs)
