import json

import pytest

from otters_lab.core.errors import DamagedFileError, InputError
from otters_lab.core.files import canonical_json, check_form, pretty_json, read_json, write_atomically
from otters_lab.core.provenance import check_sidecar, new_header, parse_header, sidecar_path, write_sidecar


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_canonical_json_does_not_depend_on_order_and_refuses_nan():
    assert canonical_json({"b": 1, "a": [1.5]}) == canonical_json({"a": [1.5], "b": 1}) == b'{"a":[1.5],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json(float("nan"))


def test_pretty_json_keeps_rows_of_numbers_on_one_line_and_reads_back():
    value = {"matrix": [[1, 2], [3, None]], "empty": {}, "text": "tau"}
    shown = pretty_json(value).decode()
    assert json.loads(shown) == value
    assert "    [1, 2]," in shown


def test_a_sidecar_catches_one_changed_byte(tmp_path):
    path = tmp_path / "artefact.bin"
    path.write_bytes(b"0123456789")
    assert check_sidecar(path) is None
    write_sidecar(path, new_header("thing"))
    assert check_sidecar(path) is not None
    path.write_bytes(b"0123456788")
    with pytest.raises(DamagedFileError, match="does not match"):
        check_sidecar(path)


def test_a_header_survives_its_own_json_and_names_what_is_wrong(tmp_path):
    header = new_header("thing", seeds={"order": 3}, config={"a": 1})
    record = json.loads(header.model_dump_json())
    assert parse_header(tmp_path, record) == header
    with pytest.raises(DamagedFileError, match="header: does not match its header_digest: it was altered"):
        parse_header(tmp_path, {**record, "seeds": {"order": 4}})
    del record["header_digest"]
    assert parse_header(tmp_path, record) == header  # as it was written before headers had one
    del record["uid"]
    with pytest.raises(DamagedFileError, match="header: uid: Field required"):
        parse_header(tmp_path, record)


def test_a_header_s_digest_is_of_what_is_read_back(tmp_path):
    """Tuples are lists then, and keys text."""
    header = new_header("thing", config={"pair": (1, 2.0), "by number": {10: "a", 9: "b"}})
    assert parse_header(tmp_path, json.loads(pretty_json(header.model_dump()))).uid == header.uid


def test_a_record_s_form_is_part_of_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(pretty_json({"a": [1e-5, 2.0], "b": {"c": "\u00e4"}}))
    check_form(path)
    for old, new in ((b" ", b"\n"), (b"1e-05", b"1E-05"), (b"\xc3\xa4", b"\\u00e4")):
        path.write_bytes(pretty_json({"a": [1e-5, 2.0], "b": {"c": "\u00e4"}}).replace(old, new, 1))
        with pytest.raises(DamagedFileError, match="not laid out as it was written"):
            check_form(path)


def test_the_header_holds_no_path_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/where/bin/otters-lab", "fit", "x.h5"])
    assert new_header("thing").command == ["otters-lab", "fit", "x.h5"]


def test_reading_what_is_not_there_or_not_json_has_its_own_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "nowhere.json")
    with pytest.raises(InputError, match="is a folder"):
        read_json(tmp_path)
    broken = tmp_path / "broken.json"
    broken.write_text('{"a": ')
    with pytest.raises(DamagedFileError, match="is not JSON"):
        read_json(broken)
    assert sidecar_path(broken).name == "broken.json.prov.json"
