"""`otters-lab bench`: what stands there, told as a table and as JSON; and the twins it serves."""

import json
import os
import signal
import subprocess
import sys

import pytest
from pyvisa import ResourceManager

import otters_lab
from otters_lab.instruments.drivers.meters import METERS
from otters_lab.instruments.virtual.keithley2450 import Keithley2450Twin


def test_the_table_names_what_every_driver_was_validated_by_and_what_was_found(cli, bench):
    code, out, err = cli("bench", bench)
    assert (code, err) == (0, "")
    meter = next(line for line in out.splitlines() if line.startswith("meter"))
    validated = METERS["keithley-2450"].validated
    for word in ("keithley-2450", validated, "GPIB0::18::INSTR", "MODEL 2450,VIRTUAL", "1.7.12b", "passed", "off"):
        assert word in meter
    assert "limits: bias 2 V, current 10 uA, compliance 20 uA, drive 5 V, pulse_width 1 s" in out
    assert "switched off in this order: light, meter, switch" in out


def test_json_holds_the_same(cli, bench):
    code, out, _ = cli("bench", bench, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["ok"]
    assert [one["role"] for one in found["instruments"]] == ["meter", "light", "switch"]
    assert {one["output"] for one in found["instruments"]} == {"off"}
    assert {one["self_test"] for one in found["instruments"]} == {"passed"}
    assert found["limits"]["bias"] == 2.0


def test_another_instrument_than_the_file_names_is_exit_3_and_the_others_are_looked_at(cli, bench, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(bench.read_text().replace("33522A", "33612A"))
    code, out, err = cli("bench", other, "--json")
    meter, light, _ = json.loads(out)["instruments"]
    assert (code, err) == (3, "")
    assert (light["output"], light["self_test"]) == ("unknown", None)
    assert "expected '33612A'" in light["problems"][0]
    assert (meter["output"], meter["problems"]) == ("off", [])


def test_an_entry_in_an_error_queue_is_shown_and_is_exit_3(cli, bench, monkeypatch):
    original = Keithley2450Twin.__init__

    def troubled(self, *arguments):
        original(self, *arguments)
        self.queue_error(-222)

    monkeypatch.setattr(Keithley2450Twin, "__init__", troubled)
    code, out, _ = cli("bench", bench)
    assert code == 3
    assert "wrong: meter: 1 in the error queue, first -222 Data out of range" in out


@pytest.mark.parametrize("model", ["707B", "3706A"])
def test_a_switch_that_speaks_tsp_is_asked_for_its_errors_in_tsp(cli, bench, tmp_path, model):
    other = tmp_path / "tsp.toml"
    text = bench.read_text().replace('"keithley-2700"', f'"keithley-{model.lower()}"').replace("MODEL 2700", model)
    for number in range(1, 9):
        channel = f'"1A0{number}"' if model == "707B" else f'"100{number}"'
        text = text.replace(f"\n{number} = 10{number}", f"\n{number} = {channel}")
    other.write_text(text)
    code, out, err = cli("bench", other, "--json")
    assert (code, err) == (0, ""), out
    assert json.loads(out)["instruments"][2]["errors"] == []


def test_a_bench_that_replays_a_capture_is_looked_over_too(cli, bench):
    code, out, _ = cli("bench", bench.with_name("replay.toml"), "--json")
    assert (code, json.loads(out)["ok"]) == (0, True)


def test_an_instrument_that_says_nothing_to_its_self_test_is_off_all_the_same(cli, bench, monkeypatch):
    original = Keithley2450Twin.handle
    monkeypatch.setattr(
        Keithley2450Twin, "handle", lambda self, message: None if message == b"*TST?" else original(self, message)
    )
    code, out, _ = cli("bench", bench, "--json")
    meter = json.loads(out)["instruments"][0]
    assert code == 3
    assert "VI_ERROR_TMO" in meter["problems"][0]
    assert (meter["output"], meter["self_test"]) == ("off", None)
    assert meter["interlock"] == "not asserted: no high voltage"  # asked on a link that was opened anew


def test_only_a_virtual_bench_is_served(cli, bench, tmp_path):
    real = tmp_path / "real.toml"
    real.write_text(bench.read_text().replace('backend = "virtual"', 'backend = "visa"'))
    code, _, err = cli("bench", real, "--serve")
    assert code == 2
    assert "only a virtual bench can be served" in err
    assert cli("bench", bench, "--write", tmp_path / "x.toml")[0] == 2


@pytest.mark.skipif(os.name == "nt", reason="SIGINT to one process")
def test_served_twins_are_the_bench_of_the_file_that_serve_writes(cli, bench, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(otters_lab.__file__))}
    written = tmp_path / "tcp.toml"
    command = [sys.executable, "-m", "otters_lab.cli.main", "bench", str(bench), "--serve", "--write", str(written)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            addresses = dict(process.stdout.readline().strip().split(": ") for _ in range(3))
            assert addresses["meter"].startswith("TCPIP0::127.0.0.1::")
            assert "Ctrl-C" in process.stdout.readline()
            code, out, _ = cli("bench", written, "--json")
            found = json.loads(out)
            assert (code, found["backend"]) == (0, "visa")
            assert {one["role"]: one["address"] for one in found["instruments"]} == addresses
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert cli("bench", written)[0] == 3  # nobody there any more


def test_without_a_bench_file_the_addresses_that_visa_finds_are_listed_and_nothing_is_served(cli):
    code, out, _ = cli("bench", "--json")
    assert code == 0
    assert json.loads(out)["addresses"] == sorted(ResourceManager("").list_resources("?*"))
    code, _, err = cli("bench", "--serve")
    assert code == 2
    assert "expected a bench file" in err


def test_the_shipped_bench_of_real_instruments_says_of_each_that_it_is_not_there(cli, root):
    code, out, _ = cli("bench", root / "instruments" / "keithley2450-dc2200.toml", "--json")
    assert code == 3
    document = json.loads(out)
    for instrument in document["instruments"]:
        assert instrument["identity"] is None
        (problem,) = instrument["problems"]
        assert instrument["address"] in problem
        assert "\n" not in problem
