"""How long a reading takes to settle on a current range, where a manual or a data sheet states it.

Of the 2400, 2450, 2460, B2901A, 6485 and 6487 no such table was at hand. What 2450-901-01 Rev. B p. 2-111 lists by
range is a delay of the source, not the settling of a reading.
"""

from __future__ import annotations

# By range (A), in seconds: 2600BS-901-01 Rev. B p. 4-25, current measure settling time, typical, to 0.1 % of the final
# value after a step of the voltage source on a fixed range, 2 V on the load. It has none for 3 A.
SETTLING_2600 = {
    1e-9: 360e-3, 1e-8: 90e-3, 1e-7: 15e-3, 1e-6: 2.5e-3, 1e-5: 500e-6, 1e-4: 150e-6, 1e-3: 100e-6, 1e-2: 80e-6,
    1e-1: 80e-6, 1.0: 120e-6, 1.5: 120e-6,
}  # fmt: skip
