"""Names of what a network is scored as, and of what its levels are read under, in evaluations."""

TEACHER, QUANTISED, IDEAL = CLEAN = "teacher", "quantised", "ttfs ideal"

RUN_TO_RUN = "run-to-run"
WITH_DEVICES = "run-to-run and device-to-device"
REPLAYED = "replayed traces"
IN_THE_LOOP = "device in the loop"
