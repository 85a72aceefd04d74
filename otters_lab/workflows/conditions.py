"""Names of what a network's levels are read under, in evaluations."""

RUN_TO_RUN = "run-to-run"
WITH_DEVICES = "run-to-run and device-to-device"
REPLAYED = "replayed traces"
IN_THE_LOOP = "device in the loop"
