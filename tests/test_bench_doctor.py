"""``bench doctor`` says what is wrong with a machine, and never falls over it."""

import json

from bench import doctor
from bench.schemas import check_result


def test_the_doctor_speaks_of_every_check(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "FILE_BYTES", 1 << 20)

    def broken(options):
        raise OSError("no such library")

    monkeypatch.setitem(doctor.CPU_CHECKS, "libraries", broken)
    assert doctor.main(["--folder", str(tmp_path)]) == 1
    *lines, last = capsys.readouterr().out.splitlines()
    document = json.loads(last)
    check_result("doctor", document)
    verdicts = {row["check"]: row["verdict"] for row in document["rows"]}
    assert verdicts["libraries"] == "wrong"
    assert "OSError: no such library" in lines[0]
    assert verdicts["JPEG decoding"] in ("good", "slow")
    assert verdicts["DALI"] in ("good", "absent")
