"""Lists of calibrations and runs: what is asked for is found, what is damaged is told, the index is only a memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from otters_lab.calibration import listing as calibration_listing
from otters_lab.calibration.listing import Query as CalibrationQuery
from otters_lab.calibration.listing import calibrations
from otters_lab.core.errors import InputError
from otters_lab.core.index import NAME
from otters_lab.core.listing import When, parse_date
from otters_lab.core.provenance import sidecar_path
from otters_lab.measurements.catalogue import parse_condition
from otters_lab.workflows.runs import Query, runs

LOG = (
    '{"stage": "teacher", "step": 40, "validation": 0.5}\n'
    '{"stage": "weights", "step": 60, "loss": 1.0}\n{"stage": "weights", "st'
)


def found(folder: Path, **query: Any) -> list[str]:
    return [run.path for run in runs(folder, Query(**query)).found]


def test_runs_say_what_was_learnt_how_well_and_on_which_chip(chain: Path) -> None:
    header = json.loads((chain / "networks" / "net" / "otters.prov.json").read_text())
    scored = json.loads((chain / "networks" / "net" / "evaluation.json").read_text())
    net, evaluation, *packed = runs(chain).found
    assert (net.path, net.kind, net.state) == ("networks/net", "checkpoint", "finished")
    assert (net.uid, net.task, net.metric, net.chip, net.origin) == (
        header["uid"],
        "sst2",
        "accuracy",
        "A1",
        "synthetic",
    )
    log = [json.loads(line) for line in (chain / "networks" / "net" / "training.jsonl").read_text().splitlines()]
    assert (net.score, net.part) == (log[-1]["validation"], "validation")
    assert net.scores["teacher"] == log[-3]["validation"]
    assert (evaluation.kind, evaluation.under) == ("evaluation", "run-to-run and device-to-device")
    assert (evaluation.score, evaluation.part) == (scored["under"][evaluation.under]["mean"], "dev")
    assert [(run.path, run.kind, run.task) for run in packed] == [
        ("networks/student.evaluation.json", "evaluation", "sst2"),
        ("networks/student.safetensors", "packed", "sst2"),
    ]


def test_every_question_of_runs_finds_what_it_asks_for(chain: Path) -> None:
    scores = {run.path: run.score for run in runs(chain).found}
    (chain / "networks" / "live").mkdir()
    (chain / "networks" / "live" / "training.jsonl").write_text(LOG)
    assert len(found(chain)) == 5
    assert found(chain, task="sst2") == found(chain, metric="accuracy") == [
        "networks/net", "networks/net/evaluation.json", "networks/student.evaluation.json",
        "networks/student.safetensors"]  # fmt: skip
    assert found(chain, task="digits") == []
    assert found(chain, chip="A1") == ["networks/net"]
    assert found(chain, kind="packed", origin="synthetic") == ["networks/student.safetensors"]
    assert found(chain, status="unfinished") == ["networks/live"]
    assert found(chain, when=When(until=parse_date("2020-01-01"))) == []
    over = parse_condition("accuracy>0.5")
    assert found(chain, score=over) == [name for name, score in scores.items() if score is not None and score > 0.5]
    with pytest.raises(InputError, match=r'expected one of accuracy \(did you mean "accuracy"'):
        found(chain, metric="acuracy")


def test_a_training_under_way_says_where_it_is_and_is_read_again_as_it_goes_on(chain: Path) -> None:
    folder = chain / "networks" / "live"
    folder.mkdir()
    (folder / "training.jsonl").write_text(LOG)
    (live,) = runs(chain, Query(status="unfinished")).found
    assert (live.path, live.kind, live.stage, live.step) == ("networks/live", "training", "weights", 60)
    assert live.scores == {"teacher": 0.5}
    assert live.updated_utc
    with (folder / "training.jsonl").open("a") as log:
        log.write('ep": 80, "loss": 0.9}\n')
    assert runs(chain, Query(status="unfinished")).found[0].step == 80
    (folder / "training.jsonl").write_text("no log of ours\n")
    assert [run.path for run in runs(chain).unreadable] == ["networks/live"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("net/model.safetensors", "networks/net"),
        ("net/otters.prov.json", "networks/net"),
        ("net/evaluation.json", "networks/net/evaluation.json"),
        ("student.safetensors", "networks/student.safetensors"),
    ],
)
def test_damaged_runs_are_told_whatever_is_asked(chain: Path, name: str, told: str) -> None:
    path = chain / "networks" / name
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :])
    for _ in range(2):  # read, then from the index
        listed = runs(chain, Query(task="none of ours"))
        assert [(run.path, bool(run.reason)) for run in listed.damaged] == [(told, True)]
        assert listed.found == []


def test_calibrations_are_found_by_chip_gates_and_date(lab: Path, root: Path) -> None:
    shutil.copy(root / "calibration" / "reference.json", lab / "calibration")
    bad = lab / "calibration" / "bad.json"
    shutil.copy(root / "calibration" / "reference.json", bad)
    bad.write_text(bad.read_text().replace('"chip": "reference"', '"chip": "another"', 1))
    (lab / "notes.json").write_text("[1, 2]")
    (lab / "broken.json").write_text("{")

    def names(**query: Any) -> list[str]:
        return [summary.path for summary in calibrations(lab, CalibrationQuery(**query)).found]

    listed = calibrations(lab)
    a1, reference = listed.found
    assert (a1.path, a1.chip, a1.traces, a1.window_s) == ("calibration/a1.json", "A1", 12, 1.0)
    assert (reference.chip, reference.gates, reference.failed_gates) == ("reference", 15, [])
    assert reference.run_to_run_sd == pytest.approx(0.02, abs=0.005)
    assert [summary.path for summary in listed.damaged] == ["calibration/bad.json"]
    assert [summary.path for summary in listed.unreadable] == ["broken.json"]
    assert names(chip="A1") == ["calibration/a1.json"]
    assert names(gates="failed") == []
    assert names(gates="passed", origin="synthetic") == ["calibration/a1.json", "calibration/reference.json"]
    assert names(when=When(until=parse_date("2020-01-01"))) == []
    with pytest.raises(InputError, match="no such folder"):
        calibrations(lab / "none")


def test_copies_in_checkpoints_are_no_calibrations_of_the_list(chain: Path) -> None:
    assert [summary.path for summary in calibrations(chain).found] == ["calibration/a1.json"]


def test_the_index_is_a_memory_that_can_be_thrown_away(lab: Path, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    plain = calibration_listing.summarise

    def reading(path: Path, name: str) -> Any:
        read.append(name)
        return plain(path, name)

    monkeypatch.setattr(calibration_listing, "summarise", reading)
    first = calibrations(lab)
    seen = sorted(read)
    assert "calibration/a1.json" in seen
    assert calibrations(lab) == first
    assert sorted(read) == seen, "from the index, files that are no calibration too"
    assert cli("captures", lab)[0] == 0  # in the same index
    assert calibrations(lab) == first
    assert sorted(read) == seen
    assert calibrations(lab, rebuild=True) == first
    assert sorted(read) == sorted(seen * 2)
    (lab / NAME).write_bytes(b"rubbish")
    for command in ("captures", "calibrations", "runs"):
        code, out, _ = cli(command, lab, "--rebuild", "--json")
        assert (code, json.loads(out)["damaged"]) == (0, [])


def test_an_altered_sidecar_and_a_hidden_header_are_damage(lab: Path) -> None:
    path = lab / "calibration" / "a1.json"
    text = path.read_text()
    for spoilt in (text.replace('"kind": "calibration"', '"kind": "calibratiom"'), text.replace('"header"', '"heade"')):
        path.write_text(spoilt)
        assert [summary.path for summary in calibrations(lab).damaged] == ["calibration/a1.json"]
    path.write_text(text)
    sidecar_path(path).write_text(sidecar_path(path).read_text().replace('file_sha256": "', 'file_sha256": "0'))
    assert [summary.path for summary in calibrations(lab).damaged] == ["calibration/a1.json"]


def test_the_commands_show_a_row_each_and_end_with_4_where_one_is_damaged(chain: Path, cli: Any) -> None:
    (chain / "networks" / "live").mkdir()
    (chain / "networks" / "live" / "training.jsonl").write_text(LOG)
    code, out, err = cli("runs", chain)
    assert (code, err) == (0, "")
    assert "unfinished: weights, step 60" in out
    assert out.endswith("5 of 5 files\n")
    code, out, _ = cli("runs", chain, "--metric", "accuracy>=0", "--kind", "evaluation", "--json")
    assert (code, len(json.loads(out)["found"])) == (0, 2)
    code, out, _ = cli("calibrations", chain, "--gates", "passed")
    row = next(line for line in out.splitlines() if line.startswith("calibration/a1.json"))
    for shown in ("A1", "synthetic", "1 s", "unified", "12"):
        assert shown in row
    assert cli("runs", chain, "--metric", "accuracy>many")[0] == 2
    assert 'did you mean "passed"' in cli("calibrations", chain, "--gates", "pased")[2]
    sidecar_path(chain / "calibration" / "a1.json").write_text("{}")
    code, out, _ = cli("calibrations", chain)
    assert (code, "damaged: " in out) == (4, True)
