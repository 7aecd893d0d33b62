"""The measured process of ``bench scale``: ``python -m bench.scale_worker FOLDER`` prints JSON."""

import json
import sys
from pathlib import Path

from bench.scale import measure

__all__: list[str] = []

if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))), flush=True)
