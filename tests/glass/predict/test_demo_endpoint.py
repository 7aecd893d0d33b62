"""The interface of ``glass demo`` for programs. ``tests/scripts/test_predict.py`` tests a served page."""

import json
from pathlib import Path

from glass.predict.prediction_files import Predictions
from glass.predict.verdicts import json_row
from glass.share.demo_endpoint import endpoint_answer
from shards.files.documents import typed_document


def test_the_endpoint_says_what_predict_says_and_no_folder(detector, files, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"rubbish")
    for path in (files[0].path, tmp_path / "x.jpg"):
        text = endpoint_answer(detector, path)
        document = typed_document(json.loads(text), Predictions)
        (expected,) = detector.predict([path])
        assert document["images"] == [json_row(expected) | {"path": path.name}]
        assert str(path.parent) not in text
        assert str(Path(detector.trained.name).parent) not in text
