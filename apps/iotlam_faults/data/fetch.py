"""Downloads of published files: resumed where they broke off, from another address where one fails, then checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iotlam.contracts import BadInput, MissingExtra
from iotlam_faults.data.catalogue import Download
from iotlam_faults.data.store import Store, is_genuine, sha256
from iotlam_faults.data.unpack import ARCHIVES, unpack

TIMEOUT_S = 30.0
ATTEMPTS = 3
"""How often each address is tried."""

PIECE_BYTES = 1 << 14
"""What is lost, at most, where a connection breaks."""

SPARE_BYTES = 200 << 20
"""Of the disk, left free."""

Seen = Callable[[int], None]


def get(store: Store, wanted: Sequence[Download], patterns: Sequence[str], seen: Seen) -> list[Path]:
    """Bring files of one set, all that are not here yet, and unpack their archives.

    What breaks off is resumed by the next call; a file appears under its name only when it is whole and genuine.

    Args:
        store: where to.
        wanted: the files.
        patterns: paths in archives that are worth unpacking.
        seen: told the bytes that have come.

    Returns:
        Where they lie.

    Raises:
        BadInput: if no address gives the file, what comes is not what was published, or the disk is too small.
        MissingExtra: if pooch is not installed.
    """
    _check_disk(store.root, wanted, store)
    return [_get_one(store, download, patterns, seen) for download in wanted]


def _get_one(store: Store, download: Download, patterns: Sequence[str], seen: Seen) -> Path:
    pinned = store.lock(download.set).get(download.file, "")
    path = store.find(download)
    if path is not None and is_genuine(path, download, pinned):
        seen(download.bytes)
    else:
        path = _download(store.folder(download.set), download, seen)
        store.forget(download.set)
        if not download.sha256:
            store.pin(download.set, {download.file: sha256(path)})
    if path.suffix in ARCHIVES:
        unpack(store, download, path, patterns)
    return path


def _download(folder: Path, download: Download, seen: Seen) -> Path:
    """Bring a file to its place; it replaces what is there, which was not genuine."""
    try:
        import pooch
    except ImportError as error:
        raise MissingExtra("pooch", "faults") from error
    pooch.get_logger().setLevel("ERROR")
    parts, flat = folder / ".parts", download.file.replace("/", "_")
    resuming = Resuming(parts / f"{flat}.part", download.bytes, seen)
    known_hash = f"sha256:{download.sha256}" if download.sha256 else None
    failures = []
    for address in [one for one in download.addresses for _ in range(ATTEMPTS)]:
        try:
            whole = Path(pooch.retrieve(address, known_hash, flat, parts, downloader=resuming))
            if not download.sha256 and not is_genuine(whole, download):
                whole.unlink()
                raise ValueError("hash")
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, pooch's of a wrong hash a ValueError
            failures.append(f"{address}: {_reason(error)}")
            continue
        path = folder / download.file
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(whole, path))
    raise BadInput(
        f"File '{download.file}' of '{download.set}'",
        expected="one of its addresses to give it",
        got="; ".join(dict.fromkeys(failures)) or "no address",
        fix=f"try again, or put the file into {folder} by hand",
    )


@dataclass(frozen=True, slots=True)
class Resuming:
    """Downloads for pooch that go on where the last attempt broke off.

    Attributes:
        part: what has come so far.
        size: bytes of the whole.
        seen: told the bytes that come.
    """

    part: Path
    size: int
    seen: Seen

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        """Bring `url` into `output_file`."""
        import requests

        self.part.parent.mkdir(parents=True, exist_ok=True)
        have = self.part.stat().st_size if self.part.exists() else 0
        if have < self.size:
            headers = {"User-Agent": "iotlam", **({"Range": f"bytes={have}-"} if have else {})}
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
                answer.raise_for_status()
                resumed = have > 0 and answer.status_code == requests.codes.partial_content
                self._write(answer.iter_content(PIECE_BYTES), append=resumed)
        came = self.part.stat().st_size
        if came < self.size:
            raise OSError(f"{came:,} of {self.size:,} bytes came")
        shutil.move(self.part, output_file)

    def _write(self, chunks: Iterable[bytes], append: bool) -> None:
        with self.part.open("ab" if append else "wb") as file:
            for chunk in chunks:
                file.write(chunk)
                self.seen(len(chunk))
                if file.tell() > self.size:  # an error page, or another file
                    break


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "another content than was published" if "hash" in text.lower() else text[:160] or type(error).__name__


def _check_disk(root: Path, wanted: Sequence[Download], store: Store) -> None:
    missing = sum(download.bytes for download in wanted if store.find(download) is None)
    nearest = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(nearest).free
    if missing and missing + SPARE_BYTES > free:
        need, have = (missing + SPARE_BYTES) / 1e9, free / 1e9
        raise BadInput(
            str(nearest), expected=f"{need:.1f} GB free", got=f"{have:.1f} GB", fix="make room, or name another --dir"
        )
