"""Adds verdicts to a table of images, using pandas: python docs/examples/score_frame.py RUN TABLE.csv SCORED.csv

The table's column ``path`` lists the image files. The other columns, the row order and the index are kept.
"""

import sys

import pandas as pd

from glass.predict.detector import Detector

COLUMNS = ["verdict", "score", "probability", "unstable", "reason"]


def score(frame: pd.DataFrame, detector: Detector, column: str = "path") -> pd.DataFrame:
    """Returns a copy of ``frame`` with the columns ``COLUMNS`` added. For an image that cannot be read, ``reason`` is
    set and there is no verdict."""
    verdicts = detector.predict(frame[column].tolist())
    return frame.assign(**{name: [getattr(verdict, name) for verdict in verdicts] for name in COLUMNS})


if __name__ == "__main__":
    run, table, scored = sys.argv[1:]
    frame = score(pd.read_csv(table), Detector.from_pretrained(run))
    frame.to_csv(scored, index=False, mode="x")  # an existing file is not replaced
    print(frame["verdict"].value_counts(dropna=False).to_string())
