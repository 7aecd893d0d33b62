"""Adds verdicts to a table of images, by pandas: python docs/examples/score_frame.py RUN TABLE.csv SCORED.csv

The table has a column ``path`` with the image files. Its other columns, the order of its rows and its index stay
unchanged.
"""

import sys

import pandas as pd

from glass.predict.detector import Detector

COLUMNS = ["verdict", "score", "probability", "unstable", "reason"]


def score(frame: pd.DataFrame, detector: Detector, column: str = "path") -> pd.DataFrame:
    """A copy of ``frame`` with the columns ``COLUMNS`` added. An image that cannot be read has a ``reason`` and no
    verdict."""
    verdicts = detector.predict(frame[column].tolist())
    return frame.assign(**{name: [getattr(verdict, name) for verdict in verdicts] for name in COLUMNS})


if __name__ == "__main__":
    run, table, scored = sys.argv[1:]
    frame = score(pd.read_csv(table), Detector.from_pretrained(run))
    frame.to_csv(scored, index=False, mode="x")  # an existing file is not replaced
    print(frame["verdict"].value_counts(dropna=False).to_string())
