"""Archives of files: what is unpacked, what is refused, and what is said of it."""

import gzip
import io
import random
import stat
import tarfile
import zipfile

import pytest

from etl.errors import ExtractError
from etl.sources.extract import archives
from etl.sources.extract.archives import unpack_tar, unpack_zip
from etl.sources.extract.staging import stage_extract, staged_format
from etl.sources.files.stored_files import FolderFiles

FILES = {"member.csv": b"member_id\nM1\n", "claim.csv": b"claim_id\n" + b"C1\n" * 400_000}


def zipped(files, method=zipfile.ZIP_DEFLATED):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return made.getvalue()


def tarred(files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def tar_gz(files):
    return gzip.compress(tarred(files))


def unpacked(data, tmp_path, name="extract.zip"):
    """Return the files that an archive of some bytes was staged as."""
    (tmp_path / name).write_bytes(data)
    folder = tmp_path / "staged"
    folder.mkdir()
    staged = stage_extract(FolderFiles(tmp_path), name, name, folder)
    found = {}
    for entry in staged.entries():
        with staged.open(entry.name) as stream:
            found[entry.name] = stream.read()
        assert stat.S_IMODE((folder / entry.name).stat().st_mode) == 0o600
    return found


EVERY = pytest.mark.parametrize("packed", [zipped, tarred, tar_gz])


@EVERY
@pytest.mark.parametrize("top", ["", "./", "nightly/2024/"])
def test_the_files_at_the_top_or_of_the_only_folder_are_the_extract(packed, top, tmp_path):
    files = {f"{top}{name}": data for name, data in FILES.items()}
    files |= {"__MACOSX/member.csv": b"x", f"{top}.hidden.csv": b"x"}
    assert unpacked(packed(files), tmp_path) == FILES


@EVERY
def test_folders_below_the_files_are_no_part_of_it(packed, tmp_path):
    assert unpacked(packed({**FILES, "older/member.csv": b"x"}), tmp_path) == FILES


@EVERY
@pytest.mark.parametrize(
    "path", ["../member.csv", "/etc/member.csv", "a/../../member.csv", "C:member.csv", "a\\b.csv"]
)
def test_a_name_that_leads_out_is_refused_and_nothing_is_unpacked(packed, path, tmp_path):
    with pytest.raises(ExtractError, match="points outside the archive"):
        unpacked(packed({path: b"x"}), tmp_path)
    assert [item.name for item in tmp_path.rglob("*.csv")] == []


@EVERY
def test_files_of_several_folders_and_files_there_twice_are_refused(packed, tmp_path):
    with pytest.raises(ExtractError, match=r"several folders \(a, b\)"):
        unpacked(packed({"a/member.csv": b"x", "b/claim.csv": b"x"}), tmp_path)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("member.csv"))
    with pytest.raises(ExtractError, match=r"has member\.csv twice"):
        unpacked(made.getvalue(), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(kind, tmp_path):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        info = tarfile.TarInfo("member.csv")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(ExtractError, match=r"member\.csv is a link or a device"):
        unpacked(made.getvalue(), tmp_path)


def test_links_in_a_zip_archive_are_refused(tmp_path):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo("member.csv")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ExtractError, match=r"member\.csv is a link or a device"):
        unpacked(made.getvalue(), tmp_path)


@EVERY
def test_an_archive_cut_off_anywhere_is_called_broken(packed, tmp_path):
    files = {"member.csv": random.Random(1).randbytes(5000), "claim.csv": b"claim_id\nC1\n"}
    whole = packed(files)
    # A tar archive ends with two blocks of zeros, and padding: without the padding it is whole.
    last = len(tarred(files).rstrip(b"\0")) if packed is tarred else len(whole) - 1
    ends = [*range(600, last, max((last - 600) // 40, 1)), last]
    assert len(ends) > 40
    for number, end in enumerate(ends):
        inside = tmp_path / str(number)
        inside.mkdir()
        with pytest.raises(
            ExtractError, match=r"extract\.zip: the archive is broken or incomplete"
        ):
            _unpack(packed, whole[:end], inside)


def _unpack(packed, data, folder):
    """Unpack by what the archive was, for its beginning may no longer say so."""
    unpack = unpack_zip if packed is zipped else unpack_tar
    unpack(io.BytesIO(data), len(data), "extract.zip", folder)


def test_a_broken_header_is_not_taken_for_the_end(tmp_path):
    whole = bytearray(tarred({"member.csv": b"member_id\nM1\n", "claim.csv": b"claim_id\n"}))
    whole[1024 + 148] ^= 1  # the checksum of the second header
    with pytest.raises(ExtractError, match="broken or incomplete"):
        _unpack(tarred, bytes(whole), tmp_path)


def test_a_changed_byte_of_a_zip_archive_is_detected(tmp_path):
    whole = bytearray(zipped({"member.csv": b"member_id\nM1\n"}, zipfile.ZIP_STORED))
    whole[whole.index(b"M1")] = ord("N")
    with pytest.raises(ExtractError, match="broken or incomplete"):
        unpacked(bytes(whole), tmp_path)


def test_an_encrypted_archive_is_called_that(tmp_path):
    whole = bytearray(zipped({"member.csv": b"member_id\nM1\n"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        whole[whole.index(mark) + offset] |= 1
    with pytest.raises(ExtractError, match=r"member\.csv is encrypted; unpack it with its"):
        unpacked(bytes(whole), tmp_path)


def test_a_method_that_is_not_known_is_named(tmp_path):
    whole = bytearray(zipped({"member.csv": b"member_id\nM1\n"}))
    for mark, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        whole[whole.index(mark) + offset] = 9
    with pytest.raises(ExtractError, match="compressed by method 9"):
        unpacked(bytes(whole), tmp_path)


@pytest.mark.parametrize(
    "bomb",
    [
        zipped({"claim.csv": bytes(8 << 20)}),
        tar_gz({"claim.csv": bytes(8 << 20)}),
        gzip.compress(tarred({"claim.csv": b"claim_id\n"}) + bytes(8 << 20)),
    ],
    ids=["zip", "tar.gz", "behind the end of a tar.gz"],
)
def test_an_archive_that_would_fill_the_disk_is_refused_before_it_does(bomb, tmp_path, monkeypatch):
    monkeypatch.setattr("etl.sources.files.listed_files.FREE_BYTES", 1 << 20)
    with pytest.raises(ExtractError, match="unpacks to more than 100 times its size"):
        unpacked(bomb, tmp_path)
    assert sum(path.stat().st_size for path in (tmp_path / "staged").iterdir()) <= len(
        b"claim_id\n"
    )


def test_a_zip_archive_whose_members_overlap_is_refused(tmp_path):
    # The directory names the same compressed bytes many times over.
    one = zipped({"a.csv": bytes(1 << 20)})
    with zipfile.ZipFile(io.BytesIO(one)) as archive:
        start = archive.start_dir
    entry = one[start : one.index(b"PK\x05\x06")]
    many = b"".join(entry.replace(b"a.csv", b"%c.csv" % (97 + number)) for number in range(20))
    end = bytearray(one[one.index(b"PK\x05\x06") :])
    end[8:12] = (20).to_bytes(2, "little") * 2
    end[12:16] = len(many).to_bytes(4, "little")
    with pytest.raises(ExtractError, match="overlap"):
        unpacked(one[:start] + many + bytes(end), tmp_path)


@EVERY
def test_more_files_than_an_extract_has_are_refused(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(ExtractError, match="has more than 3 files"):
        unpacked(packed({f"claim-{number}.csv": b"" for number in range(4)}), tmp_path)


def test_a_header_of_a_tar_archive_that_would_fill_memory_is_refused(tmp_path):
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 34
    with pytest.raises(ExtractError, match="broken or incomplete"):
        _unpack(tarred, info.tobuf() + bytes(2048), tmp_path)


def test_only_an_archive_is_a_file_that_is_a_whole_extract(tmp_path):
    for data, archive_format in (
        (zipped(FILES), "zip"),
        (tarred(FILES), "tar"),
        (tar_gz(FILES), "tar"),
        (FILES["claim.csv"], ""),
        (gzip.compress(FILES["claim.csv"]), ""),
        (gzip.compress(FILES["claim.csv"])[:12], ""),
        (b"", ""),
    ):
        (tmp_path / "file").write_bytes(data)
        assert staged_format(FolderFiles(tmp_path), "file") == archive_format
