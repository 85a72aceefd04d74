"""``python -m otters_lab``."""

from otters_lab.cli.main import run

run()
