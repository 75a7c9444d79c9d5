"""Where files live, and how they are written: aside first, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from tilbench.errors import DataError, TilbenchError

__all__ = [
    "atomic_folder",
    "atomic_path",
    "data_folder",
    "file_digest",
    "no_room",
    "package_file",
    "refuse_existing",
    "refuse_filled",
    "suites_folder",
    "within",
]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def suites_folder() -> Path:
    """Return the folder of the shipped suites: the checkout's `suites/`, else the wheel's copy."""
    checkout = Path(__file__).parents[2] / "suites"
    return checkout if checkout.is_dir() else Path(str(resources.files("tilbench"))) / "suites"


def data_folder(given: str | os.PathLike[str] | None) -> Path | None:
    """Return the data directory: the one given, else that of TILBENCH_DATA, else None.

    Raises DataError where it is no folder.
    """
    named = os.fspath(given) if given is not None else os.environ.get("TILBENCH_DATA")
    if not named:
        return None
    path = Path(named).expanduser()
    if not path.is_dir():
        raise DataError(f"data directory {named!r} is not a folder; pass another with --data, or unset TILBENCH_DATA")
    return path


def package_file(package: str, relative: str) -> Path:
    """Return the path of a file shipped inside an importable package, without leaving its folder.

    Raises DataError where the package or the file does not exist.
    """
    try:
        root = Path(str(resources.files(package)))
    except ModuleNotFoundError:
        raise DataError(f"package {package!r} is not installed, so its file {relative!r} cannot be read") from None
    path = within(root, relative)
    if not path.exists():
        raise DataError(f"package {package!r} has no file {relative!r}; reinstall the package")
    return path


def within(root: Path, relative: str) -> Path:
    """Return `root / relative`, refusing (DataError) a path that would leave `root`."""
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise DataError(f"{relative!r} leaves its folder {root}; use a path inside it")
    return path


def refuse_existing(folder: Path) -> None:
    """Raise DataError where there is anything at `folder`, a link to nothing included."""
    if folder.exists() or folder.is_symlink():
        raise DataError(f"{folder} exists; name a folder that does not with --out")


def refuse_filled(folder: Path) -> None:
    """Raise DataError where `folder` is a file or holds anything, so that nothing is written over."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not an empty folder; name another with --out")


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a temporary path beside `target`; on success it replaces `target`, on failure it is removed.

    The file is flushed to disk before the rename, so that a crash leaves the old file or the new one. Raises DataError
    where the disk has no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    aside = Path(name)
    try:
        with _one_line(target):
            yield aside
            with aside.open("rb+") as file:
                os.fsync(file.fileno())
        aside.chmod(0o644)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; on success it becomes `target`, on failure it is removed.

    An existing `target` is replaced only after the new folder is complete. Everyone may read what is in it. Raises
    DataError where the disk has no room.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with _one_line(target):
            yield aside
        for path in (aside, *aside.rglob("*")):
            if not path.stat().st_mode & 0o004:  # as mkdtemp and safetensors make them; a link's are its owner's
                path.chmod(0o755 if path.is_dir() else 0o644)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            target.replace(old / target.name)
            aside.replace(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            aside.replace(target)
    finally:
        if aside.exists():
            shutil.rmtree(aside, ignore_errors=True)


def no_room(error: BaseException | None) -> str:
    """Return why a write failed for want of room, as "File too large" or "No space left on device"; "" for others.

    Libraries that write by themselves keep the system's number in their message (safetensors) or none (torch).
    """
    vague = ""
    while error is not None:
        said = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(said[1]) if said else None
        if number in _FULL:
            return os.strerror(number)
        if re.search(r"PytorchStreamWriter|inline_container.*unexpected pos|basic_ios::clear", str(error)):
            vague = "a file could not be written to its end"
        error = error.__cause__ or error.__context__
    return vague


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _one_line(target: Path) -> Iterator[None]:
    """Raise DataError for an error of a disk that has no room for `target`; others pass."""
    try:
        yield
    except TilbenchError:
        raise
    except Exception as error:
        if why := no_room(error):
            raise DataError(f"{target} is not written: {why}; make room, and the same command goes on") from None
        raise
