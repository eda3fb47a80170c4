"""ZIP archives as people send them: every file is accepted, rejected or skipped, under the name it has at home."""

import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.errors import ArchiveError
from shared.services import Services, connect
from shared.usecases import archive_uploads
from shared.usecases.archives import Allowance, files_in, open_archive
from tests.conftest import photo_bytes, zip_of
from web.app import create_app

JAPANESE = ["夏休み/ソフト.jpg", "発表.jpg", "表紙.jpg", "予定/十.jpg", "能登.jpg", "写真/機能.jpg"]
CHINESE = ["照片/海边.jpg", "北京故宫.jpg", "生日聚会.jpg"]
TAIWANESE = ["照片/海邊.jpg", "功夫.jpg", "許可證.jpg", "花蓮旅遊.jpg"]
KOREAN = ["사진/바다.jpg", "제주도 여행.jpg", "결혼식.jpg"]
RUSSIAN = ["Фото/Лето на даче.jpg", "День рождения.jpg", "море.jpg"]
GERMAN = ["Übung.jpg", "Straße in Köln.jpg", "café.jpg"]


def raw_zip(names: Sequence[bytes], *, fields: Sequence[bytes] = (), flag: int = 0) -> bytes:
    """An archive of photos under names of any bytes, each with an extra field."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for seed, name in enumerate(names):
            entry = zipfile.ZipInfo(placeholder(seed, name))
            entry.extra = fields[seed] if fields else b""
            archive.writestr(entry, b"" if name.endswith((b"/", b"\\")) else photo_bytes((16, 16), seed=seed))
    data = buffer.getvalue()
    for seed, name in enumerate(names):
        data = data.replace(placeholder(seed, name).encode(), name)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        for part in range(data.count(signature) if flag else 0):
            start = [found for found in range(len(data)) if data.startswith(signature, found)][part]
            data = data[: start + place] + struct.pack("<H", flag) + data[start + place + 2 :]
    return data


def placeholder(seed: int, name: bytes) -> str:
    return f"{seed}".rjust(len(name), "~")


def names_in(archive: bytes) -> list[str]:
    with open_archive(BytesIO(archive), Allowance(1 << 30)) as opened:
        return [unicodedata.normalize("NFC", file.name).replace("\\", "/") for file in files_in(opened)]


def unicode_field(name: str, raw: bytes) -> bytes:
    content = b"\1" + struct.pack("<I", zlib.crc32(raw)) + name.encode()
    return struct.pack("<HH", 0x5455, 1) + b"\0" + struct.pack("<HH", 0x7075, len(content)) + content


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp932", JAPANESE),
        ("gb18030", CHINESE),
        ("gbk", CHINESE),
        ("cp950", TAIWANESE),
        ("cp949", KOREAN),
        ("euc-kr", KOREAN),
        ("cp866", RUSSIAN),
        ("cp1251", RUSSIAN),
        ("cp1252", GERMAN),
        ("cp850", ["Übung.jpg", "forêt.jpg", "São João.jpg", "niño.jpg"]),
        ("cp437", GERMAN),
        ("cp852", ["Zdjęcie z gór.jpg", "Święta.jpg", "Łódź.jpg", "Żółw.jpg"]),
        ("cp737", ["θάλασσα.jpg", "Αθήνα.jpg"]),
        ("cp862", ["משפחה.jpg", "ירושלים.jpg"]),
        ("cp874", ["ครอบครัว.jpg", "ทะเล.jpg"]),
        ("utf-8", JAPANESE + RUSSIAN),
    ],
)
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_names_are_read_in_the_encoding_they_were_written_in(encoding: str, names: list[str], separator: str) -> None:
    written = [name.replace("/", separator).encode(encoding) for name in names]
    assert names_in(raw_zip(written)) == names


def test_names_of_macos_are_composed_and_names_in_plain_letters_are_no_hint() -> None:
    taken = ["IMG_0001.jpg", unicodedata.normalize("NFD", "Übung/café.jpg"), unicodedata.normalize("NFD", "ガ.jpg")]
    assert names_in(raw_zip([name.encode() for name in taken])) == ["IMG_0001.jpg", "Übung/café.jpg", "ガ.jpg"]


def test_a_short_name_that_would_pass_as_utf8_follows_the_others() -> None:
    names = ["猫.jpg", "海边的照片.jpg", "北京.jpg"]
    assert b"\xc3\xa8" in names[0].encode("gbk")  # è
    assert names_in(raw_zip([name.encode("gbk") for name in names])) == names


def test_an_archive_may_have_names_in_utf8_and_in_a_code_page() -> None:
    names = [JAPANESE[0].encode(), *(name.encode("cp932") for name in JAPANESE[1:])]
    assert names_in(raw_zip(names)) == JAPANESE


@pytest.mark.parametrize("encoding", ["cp932", "ascii"])
def test_the_unicode_field_says_the_name_unless_it_is_of_an_earlier_one(encoding: str) -> None:
    raw = [name.encode(encoding, "replace") for name in JAPANESE]
    raw = [b"%d%s" % (number, name) for number, name in enumerate(raw)]
    fields = [unicode_field(name, before) for name, before in zip(JAPANESE, raw, strict=True)]
    assert names_in(raw_zip(raw, fields=fields)) == JAPANESE
    stale = [unicode_field(name, b"another name") for name in JAPANESE]
    expected = [f"{number}{name}" for number, name in enumerate(JAPANESE)]
    found = names_in(raw_zip(raw, fields=stale))
    assert found == (expected if encoding == "cp932" else [name.decode() for name in raw])


def test_a_damaged_field_of_a_name_is_passed_over() -> None:
    raw = [name.encode("cp932") for name in JAPANESE]
    for field in (
        b"\x75\x70\0\0",
        b"\x75",
        struct.pack("<HHBI", 0x7075, 6, 1, zlib.crc32(raw[0])) + b"\xff",
    ):
        assert names_in(raw_zip(raw, fields=[field] * len(raw))) == JAPANESE


def test_a_name_in_no_encoding_is_guessed_and_nothing_is_lost(client: FlaskClient) -> None:
    answer = sent(client, raw_zip([b"\x81.jpg", b"\xff\xfe.jpg", bytes(range(128, 256)) + b".jpg"]))
    assert len(answer["accepted"]) == 3
    assert all(name.endswith(".jpg") for name in outcomes(answer, "accepted"))


def test_names_marked_as_utf8_that_are_not_are_a_reason(client: FlaskClient) -> None:
    (refused,) = sent(client, raw_zip([b"\x83\x5c.jpg"], flag=0x800))["rejected"]
    assert "marked as UTF-8" in refused["error"]["detail"]


def sent(client: FlaskClient, *files: bytes) -> dict[str, Any]:
    album = str(client.post("/api/v1/albums", json={}).headers["Location"])
    photos = [(BytesIO(data), f"{number}.zip") for number, data in enumerate(files)]
    response = client.post(f"{album}/photos", data={"photos": photos})
    assert response.status_code == 202, response.text
    return dict(response.get_json())


def commands(services: Services, client: FlaskClient, archive: bytes) -> int:
    """Return how many Redis commands an archive takes."""
    before = services.redis.info("stats")["total_commands_processed"]
    sent(client, archive)
    return int(services.redis.info("stats")["total_commands_processed"] - before)


def outcomes(answer: dict[str, Any], kind: str) -> list[str]:
    return [one["name"] for one in answer[kind]]


def reasons(answer: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["error"]["detail"] for one in answer["rejected"]}


def test_folders_are_no_photos_whatever_they_are_called(client: FlaskClient) -> None:
    marked = [zipfile.ZipInfo("dos.jpg"), zipfile.ZipInfo("unix.jpg")]
    marked[0].external_attr, marked[1].external_attr = 0x10, (stat.S_IFDIR | 0o755) << 16
    windows = raw_zip([b"Fotos\\", b"Fotos\\a.jpg", b"Fotos\\2024.jpg\\", b"Fotos\\2024.jpg\\b.jpg"])
    answer = sent(client, windows, zip_of({marked[0]: b"", marked[1]: b"", "dos.jpg/a.png": photo_bytes(seed=9)}))
    assert outcomes(answer, "accepted") == ["Fotos/a.jpg", "Fotos/2024.jpg/b.jpg", "dos.jpg/a.png"]
    assert answer["rejected"] == answer["skipped"] == []


def test_what_storage_and_programs_keep_beside_photos_is_skipped_and_listed(client: FlaskClient) -> None:
    kept = [
        "photo/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg",
        "photo/#recycle/old.jpg",
        "$RECYCLE.BIN/S-1-5/$R1.jpg",
        "Lib.lrdata/0/thumb.jpg",
        "x/@eaDir/1/2/3/4/5/6/7/8/9/deep.jpg",
        ".thumbnails/a.jpg",
    ]
    names = enumerate(["./photo/a.jpg", *kept])
    answer = sent(client, zip_of({name: photo_bytes((16, 16), seed=seed) for seed, name in names}))
    assert outcomes(answer, "accepted") == ["photo/a.jpg"]
    assert len(answer["skipped"]) == len(kept)
    assert {one["code"] for one in answer["skipped"]} == {"hidden"}


def test_files_that_people_take_for_photos_are_rejected_by_name(client: FlaskClient) -> None:
    photos = [f"a.{suffix}" for suffix in ("jxl", "jxr", "jls", "psd", "pef", "nrw", "x3f", "srw", "CR3", "heics")]
    answer = sent(client, zip_of({**dict.fromkeys(photos, b"not known"), "b.pdf": b"%PDF", "c.svg": b"<svg/>"}))
    assert outcomes(answer, "rejected") == photos
    assert outcomes(answer, "skipped") == ["b.pdf", "c.svg"]


def test_archives_in_an_archive_are_named(client: FlaskClient) -> None:
    inner = zip_of({"a.png": photo_bytes()})
    answer = sent(client, zip_of({"takeout-001.zip": inner, "b.7z": b"7z", "c.tar.gz": b"\x1f\x8b"}))
    assert outcomes(answer, "rejected") == ["takeout-001.zip", "b.7z", "c.tar.gz"]
    assert all("unpack it" in reason for reason in reasons(answer).values())


def test_an_archive_without_photos_says_what_was_in_it(client: FlaskClient) -> None:
    answer = sent(client, zip_of({"a.txt": b"hi", ".b.jpg": photo_bytes()}))
    assert reasons(answer) == {"0.zip": "This archive contains no photos."}
    assert outcomes(answer, "skipped") == ["a.txt", ".b.jpg"]


def test_whatever_is_not_a_plain_file_is_named(client: FlaskClient) -> None:
    pipe, device, link = (zipfile.ZipInfo(name) for name in ("pipe.jpg", "device.jpg", "link"))
    pipe.external_attr, device.external_attr = (stat.S_IFIFO | 0o644) << 16, (stat.S_IFCHR | 0o644) << 16
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    encrypted = bytearray(zip_of({"secret.jpg": photo_bytes()}))
    encrypted[encrypted.index(b"PK\1\2") + 8] = 1
    answer = sent(client, zip_of({pipe: b"", device: b"", link: b"a.jpg", "a.png": photo_bytes()}), bytes(encrypted))
    assert outcomes(answer, "accepted") == ["a.png"]
    assert {name: reason.split(";")[0] for name, reason in reasons(answer).items()} == {
        "pipe.jpg": "It is not a regular file.",
        "device.jpg": "It is not a regular file.",
        "secret.jpg": "It is encrypted",
    }
    assert outcomes(answer, "skipped") == ["link"]


class TestLies:
    """Entries that say something else of themselves than is there."""

    def test_entries_that_share_their_data_are_unpacked_once(self, client: FlaskClient) -> None:
        one = zip_of({"a.png": photo_bytes()})
        local, listed = one[: one.index(b"PK\1\2")], one[one.index(b"PK\1\2") : one.index(b"PK\5\6")]
        directory = b"".join(listed.replace(b"a.png", b"%c.png" % letter) for letter in b"bcda")
        end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 4, 4, len(directory), len(local), 0)
        answer = sent(client, local + directory + end)
        assert len(answer["accepted"]) + len(answer["rejected"]) == 4
        assert len(answer["rejected"]) >= 3

    def test_entries_that_reach_into_the_next_are_not_unpacked(self, client: FlaskClient) -> None:
        archive = bytearray(zip_of({f"{number}.png": photo_bytes(seed=number) for number in range(3)}))
        size = len(photo_bytes(seed=0)) + 200
        start = archive.index(b"PK\1\2")
        struct.pack_into("<II", archive, start + 20, size, size)
        answer = sent(client, bytes(archive))
        assert outcomes(answer, "accepted") == ["1.png", "2.png"]
        assert "overlaps" in reasons(answer)["0.png"]

    @pytest.mark.parametrize("claimed", [0, 10])
    def test_a_photo_that_is_larger_than_it_says_is_damaged(self, client: FlaskClient, claimed: int) -> None:
        archive = bytearray(zip_of({"a.png": photo_bytes(seed=1), "b.png": photo_bytes(seed=2)}, zipfile.ZIP_DEFLATED))
        struct.pack_into("<I", archive, archive.index(b"PK\1\2") + 24, claimed)
        answer = sent(client, bytes(archive))
        assert outcomes(answer, "accepted") == ["b.png"]
        assert outcomes(answer, "rejected") == ["a.png"]

    def test_a_photo_under_two_names_is_damaged(self, client: FlaskClient) -> None:
        archive = bytearray(zip_of({"a.png": photo_bytes(seed=1), "b.png": photo_bytes(seed=2)}))
        archive[archive.index(b"PK\1\2") + 46] = ord("c")
        answer = sent(client, bytes(archive))
        assert (outcomes(answer, "accepted"), outcomes(answer, "rejected")) == (["b.png"], ["c.png"])


class TestLimits:
    """Limits on the archives of one request together."""

    def test_entries_count_for_all_archives_of_a_request(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive_uploads, "Allowance", lambda unpacked: Allowance(unpacked, entries=5))
        three = [zip_of({f"{number}{one}.png": photo_bytes(seed=number) for number in range(3)}) for one in "abc"]
        answer = sent(client, *three)
        assert len(answer["accepted"]) == 3
        assert outcomes(answer, "rejected") == ["1.zip", "2.zip"]

    def test_directories_count_for_all_archives_of_a_request(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive_uploads, "Allowance", lambda unpacked: Allowance(unpacked, directory_bytes=400))
        answer = sent(client, *(zip_of({f"{one}{'x' * 200}.png": photo_bytes()}) for one in "ab"))
        assert outcomes(answer, "rejected") == ["1.zip"]

    def test_unpacked_bytes_count_for_all_archives_of_a_request(
        self, services: Services, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photos = [photo_bytes((64, 64), seed=seed) for seed in range(4)]
        allowed = sum(map(len, photos[:3])) + 10
        monkeypatch.setattr(archive_uploads, "Allowance", lambda _: Allowance(allowed))
        halves = [zip_of({"a.png": photos[0], "b.png": photos[1]}), zip_of({"c.png": photos[2], "d.png": photos[3]})]
        answer = sent(create_app(services).test_client(), *halves)
        assert outcomes(answer, "accepted") == ["a.png", "b.png", "c.png"]
        assert "too much data" in reasons(answer)["d.png"]

    def test_unpacked_bytes_count_though_a_photo_is_damaged(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photos = [photo_bytes((64, 64), seed=seed) for seed in range(4)]
        archive = zip_of({f"{seed}.png": photo for seed, photo in enumerate(photos)})
        start = archive.index(b"PK\1\2")
        listed = archive[start:].replace(struct.pack("<I", zlib.crc32(photos[0])), bytes(4))
        monkeypatch.setattr(archive_uploads, "Allowance", lambda _: Allowance(sum(map(len, photos)) - 10))
        answer = sent(client, archive[:start] + listed)
        assert outcomes(answer, "accepted") == ["1.png", "2.png"]
        assert "damaged" in reasons(answer)["0.png"]
        assert "too much data" in reasons(answer)["3.png"]

    @pytest.mark.parametrize("claimed", [0, 2, 0xFFFF])
    def test_entries_are_counted_before_they_are_read(self, monkeypatch: pytest.MonkeyPatch, claimed: int) -> None:
        archive = bytearray(zip_of({f"{number}.png": b"x" for number in range(8)}))
        struct.pack_into("<HH", archive, archive.index(b"PK\5\6") + 8, claimed, claimed)
        with open_archive(BytesIO(archive), Allowance(1 << 30, entries=8)) as opened:
            assert len(opened.infolist()) == 8
        monkeypatch.setattr(zipfile, "ZipFile", None)
        with pytest.raises(ArchiveError, match="at most"):
            open_archive(BytesIO(archive), Allowance(1 << 30, entries=7))

    def test_refusals_beyond_a_full_album_cost_nothing_more(self, services: Services) -> None:
        few = services.settings.model_copy(update={"max_album_photos": 3})
        client = create_app(connect(few)).test_client()
        calls = [
            commands(services, client, zip_of(dict.fromkeys(map("{}.jpg".format, range(count)), b"no photo")))
            for count in (10, 60)
        ]
        assert calls[1] - calls[0] < 50 * 3
