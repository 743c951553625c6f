from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import Download
from iotlam_faults.data.fetch import PIECE_BYTES, get
from iotlam_faults.data.store import Store
from iotlam_faults.data.verify import verify_set

from .conftest import Publisher

CONTENT = bytes(range(256)) * 4000


def published(publisher: Publisher, content: bytes = CONTENT, name: str = "97.mat", copies: int = 1) -> Download:
    """A file that the publisher serves under `copies` addresses."""
    paths = [f"/{copy}/{name}" for copy in range(copies)]
    publisher.files.update(dict.fromkeys(paths, content))
    addresses = tuple(publisher.url + path for path in paths)
    digest = hashlib.sha256(content).hexdigest()
    return Download(set="cwru", file=name, bytes=len(content), addresses=addresses, sha256=digest)


def test_a_file_comes_whole_and_is_not_asked_for_again(publisher: Publisher, tmp_path: Path) -> None:
    store, download, seen = Store(tmp_path), published(publisher), []
    (path,) = get(store, [download], [], seen.append)
    assert path == tmp_path / "cwru" / "97.mat" and path.read_bytes() == CONTENT
    assert sum(seen) == len(CONTENT)
    get(store, [download], [], seen.append)
    assert len(publisher.asked) == 1


def test_what_broke_off_goes_on_where_it_was(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher)
    publisher.breaks_after = [20 * PIECE_BYTES, 10 * PIECE_BYTES]
    (path,) = get(Store(tmp_path), [download], [], lambda size: None)
    assert path.read_bytes() == CONTENT
    assert [wanted for _, wanted in publisher.asked] == [
        None,
        f"bytes={20 * PIECE_BYTES}-",
        f"bytes={30 * PIECE_BYTES}-",
    ]


def test_a_later_run_goes_on_too(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher)
    publisher.breaks_after = [10 * PIECE_BYTES, 0, 0]
    with pytest.raises(BadInput, match="Connection broken"):
        get(Store(tmp_path), [download], [], lambda size: None)
    assert not (tmp_path / "cwru" / "97.mat").exists()
    (path,) = get(Store(tmp_path), [download], [], lambda size: None)
    assert path.read_bytes() == CONTENT
    assert publisher.asked[-1][1] == f"bytes={10 * PIECE_BYTES}-"


def test_a_publisher_that_cannot_resume_begins_again(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher)
    publisher.breaks_after, publisher.resumes = [300_000], False
    (path,) = get(Store(tmp_path), [download], [], lambda size: None)
    assert path.read_bytes() == CONTENT


def test_another_address_helps_where_the_first_lies(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher, copies=2)
    publisher.files["/0/97.mat"] = CONTENT[::-1]
    (path,) = get(Store(tmp_path), [download], [], lambda size: None)
    assert path.read_bytes() == CONTENT


def test_what_is_not_genuine_is_refused_and_named(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher)
    publisher.files["/0/97.mat"] = CONTENT[::-1]
    with pytest.raises(BadInput, match=r"'97.mat' of 'cwru'.*another content than was published"):
        get(Store(tmp_path), [download], [], lambda size: None)
    assert not list((tmp_path / "cwru").glob("*.mat"))


def test_an_error_page_longer_than_the_file_is_not_read_to_its_end(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher)
    publisher.files["/0/97.mat"] = b"<html>" * 4_000_000
    with pytest.raises(BadInput):
        get(Store(tmp_path), [download], [], lambda size: None)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 10_000_000


def test_a_damaged_file_is_replaced(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher)
    (tmp_path / "cwru").mkdir()
    (tmp_path / "cwru" / "97.mat").write_bytes(CONTENT[:-1] + b"?")
    assert verify_set(Store(tmp_path), "cwru", lambda size: None).damaged == ("97.mat",)
    (path,) = get(Store(tmp_path), [download], [], lambda size: None)
    assert path.read_bytes() == CONTENT


def test_gits_checksum_serves_and_the_first_download_pins(publisher: Publisher, tmp_path: Path) -> None:
    blob = hashlib.sha1(f"blob {len(CONTENT)}\0".encode() + CONTENT, usedforsecurity=False).hexdigest()
    download = published(publisher).changed(sha256="", git_blob=blob)
    store = Store(tmp_path)
    get(store, [download], [], lambda size: None)
    assert store.lock("cwru") == {"97.mat": hashlib.sha256(CONTENT).hexdigest()}
    publisher.files["/0/97.mat"] = CONTENT[::-1]
    (tmp_path / "cwru" / "97.mat").unlink()
    with pytest.raises(BadInput, match="another content"):
        get(Store(tmp_path), [download], [], lambda size: None)


def test_a_full_disk_is_told_before_anything_is_written(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1e9, 1e9, 1000))
    with pytest.raises(BadInput, match="GB free, got 0.0 GB"):
        get(Store(tmp_path / "new"), [published(publisher)], [], lambda size: None)
    assert not publisher.asked and not (tmp_path / "new").exists()


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def rarred(members: dict[str, bytes]) -> bytes:
    rars = pytest.importorskip("rars")
    builder = rars.RarBuilder()
    for name, content in members.items():
        builder.add_bytes(content, name)
    return bytes(builder.to_bytes())


@pytest.mark.parametrize("pack, suffix", [(zipped, "zip"), (rarred, "rar")])
def test_archives_are_unpacked_as_far_as_they_are_wanted(
    publisher: Publisher, tmp_path: Path, pack, suffix: str
) -> None:
    members = {"K001/N15_K001_1.mat": b"one" * 1000, "K001/N15_K001_2.mat": b"two" * 1000, "K001/facts.pdf": b"pdf"}
    download = published(publisher, pack(members), f"K001.{suffix}").changed(set="paderborn")
    store = Store(tmp_path)
    get(store, [download], ["K001/N15_K001_*.mat"], lambda size: None)
    unpacked = {path.relative_to(tmp_path / "paderborn").as_posix(): path.read_bytes()
                for path in (tmp_path / "paderborn" / "K001").iterdir()}  # fmt: skip
    assert unpacked == {name: content for name, content in members.items() if name.endswith(".mat")}
    (tmp_path / "paderborn" / "K001" / "N15_K001_2.mat").write_bytes(b"spoilt")
    before = verify_set(store, "paderborn", lambda size: None)
    assert "K001/N15_K001_2.mat" in before.damaged
    get(store, [download], ["K001/N15_K001_*.mat"], lambda size: None)
    mended = verify_set(store, "paderborn", lambda size: None)
    assert "K001/N15_K001_2.mat" not in mended.damaged and mended.missing == before.missing
    (store.folder("paderborn") / "K001" / "N15_K001_2.mat").unlink()
    assert verify_set(store, "paderborn", lambda size: None).missing == before.missing + 1


@pytest.mark.parametrize("pack, suffix", [(zipped, "zip"), (rarred, "rar")])
def test_a_damaged_archive_is_one_sentence(publisher: Publisher, tmp_path: Path, pack, suffix: str) -> None:
    content = pack({"a.mat": bytes(range(256)) * 400})
    spoilt = content[: len(content) // 2] + b"\xff" * 20 + content[len(content) // 2 + 20 :]
    download = published(publisher, spoilt, f"a.{suffix}")
    with pytest.raises(BadInput, match="expected a whole archive"):
        get(Store(tmp_path), [download], ["*"], lambda size: None)
    assert not (tmp_path / "cwru" / "a.mat").exists()


def test_a_disk_that_fills_up_while_unpacking_is_told(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher, zipped({"x/y.mat": b"0" * 3_000_000}), "a.zip")
    script = """
import resource, signal, sys
from pathlib import Path
from iotlam.contracts import BadInput
from iotlam_faults.data.catalogue import Download
from iotlam_faults.data.fetch import get
from iotlam_faults.data.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    get(Store(Path(sys.argv[1])), [Download.from_json(sys.argv[2], "test")], ["*.mat"], lambda size: None)
except BadInput as error:
    print(error)
"""
    command = [sys.executable, "-c", script, str(tmp_path), download.to_json()]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "expected to write it, got File too large" in told and "y.mat" in told
    assert not [path for path in (tmp_path / "cwru").rglob("*") if "y.mat" in path.name]


def test_no_member_leaves_its_folder(publisher: Publisher, tmp_path: Path) -> None:
    download = published(publisher, zipped({"../../evil.mat": b"x"}), "a.zip")
    with pytest.raises(BadInput, match="paths inside"):
        get(Store(tmp_path / "deep" / "er"), [download], ["*"], lambda size: None)
    assert not list(tmp_path.rglob("evil.mat"))


def test_pinned_checksums_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "cwru").mkdir()
    for text in ("[]", "{", '{"97.mat": 1}'):
        (tmp_path / "cwru" / "checksums.json").write_text(text)
        with pytest.raises(BadInput, match="expected JSON of checksums by path"):
            Store(tmp_path).lock("cwru")
