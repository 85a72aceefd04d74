"""A capture in an old calibration's terms: its window, its curvature, its constants."""

from __future__ import annotations

from collections.abc import Sequence

from otters_lab.calibration.bulk import SharedC, fit_bulk
from otters_lab.calibration.compare import Measured
from otters_lab.calibration.file import DeviceRecord
from otters_lab.calibration.noise import estimate_noise
from otters_lab.calibration.normalise import normalise
from otters_lab.calibration.records import device_record, trace_table
from otters_lab.calibration.select import select
from otters_lab.core.errors import InputError
from otters_lab.measurements.capture import Capture


def measured_again(captures: Sequence[Capture], old: DeviceRecord) -> Measured:
    """Fits captures over the old window with the old curvature: what the window cannot tell then cannot differ.

    Laws are not compared and no gates are judged; that is a refit's business.

    Raises
    ------
    InputError
        if there is nothing to fit, or the captures hold several settings.
    """
    chosen = select(captures, old.constants.window_s)
    if len(chosen.settings) > 1:
        raise InputError("cannot be compared: several settings", file=captures[0].path, found=len(chosen.settings),
                         expected="a capture of the calibration's setting")  # fmt: skip
    decays = chosen.decays()
    shared = SharedC(old.law.c, None, fit_bulk(decays, old.law.c))
    segments, source = chosen.steady_segments()
    noise = estimate_noise(segments, chosen.interval_s, chosen.duration_s, source)
    normal = normalise(shared, chosen, decays, noise, free_c=False)
    return Measured(
        chip=", ".join(sorted({str(chip) for chip in chosen.table["chip"]})),
        settings=chosen.settings,
        device=device_record(normal, chosen, decays, "unified"),
        traces=trace_table(normal.shared.fit, chosen, {}, normal),
        c_sd=None,
        c_taken=True,
    )
