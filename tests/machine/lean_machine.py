"""Creates virtual environments of this Python that have only some of its packages, without using a network."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

__all__ = ["lean_python", "needed_by"]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def needed_by(*roots: str, without: frozenset[str] = frozenset()) -> set[str]:
    """Returns the installed distributions among ``roots`` and all their dependencies, except those in ``without`` and
    whatever only these need."""
    seen, todo = set[tuple[str, str]](), [Requirement(root) for root in roots]
    while todo:
        one = todo.pop()
        name = _normal(one.name)
        if name in without:
            continue
        for extra in ("", *one.extras):
            if (name, extra) in seen:
                continue
            try:
                wanted = [Requirement(line) for line in metadata.requires(name) or []]
            except metadata.PackageNotFoundError:
                break
            seen.add((name, extra))
            todo += [part for part in wanted if part.marker is None or part.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def lean_python(folder: Path, distributions: set[str]) -> Path:
    """Creates an environment in ``folder`` that has these distributions, as links to the installed files. Returns the
    path of its Python interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (site,) = (folder / "venv/lib").glob("python*/site-packages")
    for name in sorted(distributions):
        for file in metadata.files(name) or []:
            source = Path(file.locate())
            if ".." in file.parts or "__pycache__" in file.parts or not source.exists():
                continue  # commands in bin, compiled code
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(source)
    return folder / "venv/bin/python"
