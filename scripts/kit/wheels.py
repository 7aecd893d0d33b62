"""Prepares wheels for a machine that cannot download them, in two steps.

wheels.py note WHEELS VERSION     where the wheels are packed
wheels.py unpack WHEELS SITE      on the machine that needs them

``note`` requires each wheel to fit Python VERSION on Linux. It deletes the wheels for packages that the machine is
assumed to have, and records the checksums of the others. ``unpack`` verifies these checksums, and unpacks the wheels
for packages that this machine's Python lacks. It does not use pip, which may be missing or may try to reach a registry.
"""

import hashlib
import platform
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PurePosixPath

SUMS = "SHA256SUMS"
THERE = {"torch", "torchvision", "triton", "timm", "accelerate", "numba", "llvmlite", "numpy", "pyarrow", "pillow"}
"""Packages that the machine is assumed to have. pip downloads their wheels, too, if another package depends on them;
these are deleted, so that they cannot replace the machine's packages."""


class Refused(Exception):
    """Raised for wheels that cannot be used; the message is one sentence."""


def main(words: list[str]) -> int:
    """Runs ``note`` or ``unpack``. Returns 0, or 2 for wheels that do not fit or are damaged."""
    try:
        if words[0] == "note":
            note(Path(words[1]), words[2])
        else:
            unpack(Path(words[1]), Path(words[2]))
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def note(wheels: Path, version: str) -> None:
    """Checks all wheel tags in ``wheels``, deletes the wheels for packages in ``THERE``, and records the checksums of
    the others.
    """
    lines = []
    for wheel in sorted(wheels.glob("*.whl")):
        if name_of(wheel) in THERE:
            wheel.unlink()
            continue
        require_fits(wheel, version)
        lines.append(f"{_sha256(wheel)}  {wheel.name}\n")
    if not lines:
        raise Refused(f"there is no wheel in {wheels}: pip downloaded none")
    (wheels / SUMS).write_text("".join(lines), encoding="ascii")


def unpack(wheels: Path, site: Path) -> None:
    """Verifies the checksums in ``wheels``, then unpacks the packages that this Python lacks into ``site``."""
    version = "{}.{}".format(*platform.python_version_tuple())
    sums = [line.split() for line in (wheels / SUMS).read_text(encoding="ascii").splitlines()]
    unpacked = []
    for sha256, wheel in sums:
        path = wheels / wheel
        if not path.is_file() or _sha256(path) != sha256:
            raise Refused(f"{wheel} is missing or damaged: copy the kit here again")
        require_fits(path, version)
        if not _is_installed(name_of(path)):
            _extract(path, site)
            unpacked.append(name_of(path))
    print(f"unpacked the wheels that this machine lacks, {len(unpacked)} of {len(sums)}: {', '.join(unpacked)}")


def name_of(wheel: Path) -> str:
    """The normalised name of the wheel's distribution."""
    return re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()


def require_fits(wheel: Path, version: str) -> None:
    """Raises ``Refused`` unless a wheel's tags are for CPython ``version`` on Linux and this machine's architecture."""
    pythons, abis, systems = wheel.name.removesuffix(".whl").split("-")[-3:]
    digits = version.replace(".", "")
    older = {f"cp3{minor}" for minor in range(2, int(version.split(".")[1]) + 1)}
    fits = any(
        (python in ("py3", f"py{digits}", "py2.py3") and abi == "none")
        or (python == f"cp{digits}" and abi in (f"cp{digits}", "abi3", "none"))
        or (python in older and abi == "abi3")
        for python in pythons.split(".")
        for abi in abis.split(".")
    )
    machine = platform.machine()
    here = any(one == "any" or ("linux" in one and one.endswith(machine)) for one in systems.split("."))
    if not (fits and here):
        raise Refused(f"{wheel.name} is not for Python {version} on Linux {machine}: pack the kit for this machine")


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _extract(wheel: Path, site: Path) -> None:
    """Extracts a wheel as pip does, but without installing commands or compiling bytecode."""
    with zipfile.ZipFile(wheel) as archive:
        for member, target in _targets(archive):
            path = site / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(member))


def _targets(archive: zipfile.ZipFile) -> Iterator[tuple[str, PurePosixPath]]:
    for member in archive.namelist():
        path = PurePosixPath(member)
        if member.endswith("/"):
            continue
        if path.is_absolute() or ".." in path.parts:
            raise Refused(f"{archive.filename} has a member that would be written outside of the folder: {member!r}")
        if path.parts[0].endswith(".data"):
            if path.parts[1] not in ("purelib", "platlib"):
                continue
            path = PurePosixPath(*path.parts[2:])
        yield member, path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
