"""Prints this project's requirements that a rented GPU machine lacks, one per line: ``missing.py [--no-dali]``.

The machine is assumed to have the packages in ``THERE`` and their dependencies.
"""

import re
import sys
import tomllib
from pathlib import Path

THERE = ("torch", "timm", "accelerate", "numba", "numpy", "pyarrow", "pillow", "safetensors", "pyyaml", "psutil")
"""Packages that the machine is assumed to have: PyTorch, timm, Accelerate, Numba, pyarrow, Pillow, and others that come
with them."""
TESTS = ("pytest-timeout",)


def main() -> int:
    """Prints the requirements; returns exit code 0."""
    project = Path(__file__).resolve().parents[2] / "pyproject.toml"
    wanted = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    lines = [line.split(";")[0].strip() for line in wanted]
    if "--no-dali" in sys.argv[1:]:
        lines = [line for line in lines if "dali" not in line]
    print("\n".join([line for line in lines if re.split(r"[<>=!~ ]", line)[0] not in THERE] + list(TESTS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
