"""Hostile input: no request causes a crash, a hang, excessive memory, a 5xx or a write in the wrong place.

A quick version of `make fuzz`; see `tests/fuzzing.py`.
"""

import bz2
import csv
import json
import re
import stat
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance
from werkzeug.test import TestResponse

from cli.keys import Allowance, create_caller
from shared.callers.api_keys import Scope
from shared.conversion import Options
from shared.errors import WeightsError
from shared.jobs.record import Job, State
from shared.photos.decoding import readable_formats
from shared.photos.formats import Format
from shared.services import Services, connect
from shared.usecases.submit import Order, submit
from tests.conftest import ToyEngine, photo_bytes, zip_of
from tests.fuzzing import Converter, ConverterDiedError, damaged, fuzz, within_bounds
from web import rates
from web.app import create_app
from web.held_requests import SlotPool
from worker import tasks

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"  # werkzeug does not close the files of broken forms
)
JOBS, ALBUMS = "/api/v1/jobs", "/api/v1/albums"
Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def _any_number_of_albums() -> Iterator[None]:
    """Lift the limit on albums per minute, which these tests exceed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "ALBUMS_PER_MINUTE", 1_000_000)
        yield


@pytest.fixture
def app(services: Services) -> Flask:
    return hurried(services)


def hurried(services: Services) -> Flask:
    """An app that never waits: held requests end at once, and there are slots for those that nobody closes."""
    app = create_app(services, is_serving=lambda: False)
    app.extensions["sakuga-slots"] = SlotPool(1_000_000, lambda: False)
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def album(client: FlaskClient) -> str:
    """The path of an album that has no photos yet."""
    return str(client.post(ALBUMS, json={}).headers["Location"])


def submitted(services: Services) -> Job:
    return submit(services, BytesIO(photo_bytes()), Order("hinata-light", Options(64, Format.PNG)))


def convert(services: Services, job_id: str) -> None:
    tasks.convert(job_id, services, lambda _: ToyEngine())


def require_answer(response: TestResponse) -> None:
    """Require a 4xx with a reason, or success."""
    assert response.status_code < 500, response.text
    if response.status_code >= 400 and response.data:
        assert response.content_type == "application/problem+json"
        problem = json.loads(response.data)
        assert problem["status"] == response.status_code
        assert len(response.data) < 4000
    response.close()


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:  # noqa: ANN401
    readable_formats()  # so that HEIF is known
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def layered(size: tuple[int, int] = (32, 32)) -> bytes:
    """A PSD (Adobe's File Formats Specification), which Pillow can read but not write."""
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, *size, 8, 1)
    return header + bytes(14) + bytes(size[0] * size[1])


def small_photos() -> list[bytes]:
    """Photos of a few kB in every format that is read, with every kind of metadata in their headers."""
    image = Image.open(BytesIO(photo_bytes((48, 40)))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "description"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01 00:00:00"
    text = PngInfo()
    text.add_text("Comment", "text " * 20, zip=True)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    told = {"exif": exif, "icc_profile": profile}
    frames = {"save_all": True, "append_images": [image.rotate(90), image.rotate(180)]}
    plain = [saved(image, name) for name in readable_formats() if name != "PSD"]
    with_metadata = [saved(image, name, **told) for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")]
    animated = [saved(image, name, **frames) for name in ("GIF", "PNG", "WEBP", "AVIF", "HEIF", "TIFF")]
    packed = [saved(image, "TIFF", compression=name) for name in ("tiff_lzw", "jpeg", "packbits", "tiff_adobe_deflate")]
    modes = [saved(image.convert(mode), "PNG", pnginfo=text) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")]
    others = [
        saved(image, "JPEG", progressive=True),
        saved(image.convert("CMYK"), "JPEG"),
        saved(image.convert("RGBA"), "WEBP", lossless=True),
        saved(image.convert("RGBA"), "AVIF"),
        saved(image.convert("RGBA"), "HEIF"),
        saved(image.convert("1"), "TIFF", compression="group4"),
        saved(image, "TIFF", big_tiff=True),
        saved(image, "TGA", compression="tga_rle"),
        layered(),
    ]
    return plain + with_metadata + animated + packed + modes + others


def test_a_damaged_photo_is_converted_or_refused_with_a_reason() -> None:
    with Converter() as converter:
        for photo in small_photos():
            assert converter.convert(photo) == "picture"
        fuzz(damaged(small_photos()), lambda photo: require_outcome(converter.convert(photo)), examples=800)


def require_outcome(outcome: str) -> None:
    assert re.fullmatch(r"picture|4\d\d \w+", outcome)


def test_the_converter_process_reports_refusals_and_its_own_death() -> None:
    with Converter() as converter:
        assert converter.convert(b"no photo") == "415 not_a_photo"
        psutil.Process(converter.pid).kill()
        with pytest.raises(ConverterDiedError):
            converter.convert(photo_bytes())
        assert converter.convert(photo_bytes()) == "picture"


def broken(_: str) -> ToyEngine:
    raise WeightsError("There are none.")


AIMS = ["as generated", "queued", "running", "succeeded", "failed", "canceled"]


def brought_to(services: Services, client: FlaskClient, aim: str) -> Job:
    sent = client.post(JOBS, data={"photo": (BytesIO(photo_bytes()), "a.png"), "max_side": "64"})
    job = services.jobs.get(json.loads(sent.data)["id"])
    match aim:
        case "running":
            services.attempts.claim(job.id)
        case "succeeded":
            convert(services, job.id)
        case "failed":
            tasks.convert(job.id, services, broken)
        case "canceled":
            services.jobs.cancel(job.id)
    return job


def aimed(case: Case[Any], services: Services, client: FlaskClient, aim: str) -> None:
    """Let a generated call hit an existing resource."""
    if aim == "as generated":
        return
    if "job_id" in case.path_parameters:
        case.path_parameters["job_id"] = brought_to(services, client, aim).id
    if "album_id" in case.path_parameters:
        album = str(client.post(ALBUMS, json={}).headers["Location"])
        photos = [(BytesIO(photo_bytes()), "a.png"), (BytesIO(b"no photo"), "b.png")]
        client.post(f"{album}/photos", data={"photos": photos})
        case.path_parameters["album_id"] = album.rpartition("/")[2]
        for entry in services.albums.entries(case.path_parameters["album_id"]):
            if entry.job:
                convert(services, entry.job.id)  # otherwise its archive would wait and be aborted
    if isinstance(case.body, dict) and "photo" in case.body:
        case.body["photo"] = photo_bytes()  # type: ignore[assignment]
    elif isinstance(case.body, bytes):
        case.body = photo_bytes()


def can_be_wrong(operation: Json) -> bool:
    """Return whether the document constrains a call enough that invalid input can be generated."""
    kinds = operation.get("requestBody", {}).get("content", {}).keys() - {"image/*"}
    return bool(kinds) or any(parameter["in"] == "query" for parameter in operation["parameters"])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_api_conforms_to_its_document(guarded: Services, key_file: Path, mode: GenerationMode) -> None:
    """With a key; schemathesis also checks that nothing is accessible without one."""
    key, _ = create_caller(key_file, "fuzz", Allowance(tuple(Scope)), expires_in=None)
    app, headers = hurried(guarded), {"Authorization": f"Bearer {key}"}
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = headers["Authorization"]
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    if mode is GenerationMode.NEGATIVE:
        operations = [operation for operation in operations if can_be_wrong(operation.definition.raw)]
    assert len(operations) > 5
    for operation in operations:
        # No schema can describe what a valid photo, style or cursor is; and without a worker the service is not ready.
        excluded = [positive_data_acceptance, *([not_a_server_error] if operation.path == "/readyz" else [])]

        def check(example: tuple[Case[Any], str], excluded: Any = excluded) -> None:  # noqa: ANN401
            case, aim = example
            if mode is GenerationMode.POSITIVE:
                aimed(case, guarded, client, aim)
            case.call_and_validate(headers=headers, excluded_checks=excluded)

        example = st.tuples(operation.as_strategy(generation_mode=mode), st.sampled_from(AIMS))
        fuzz(example, check, examples=12, share=1 / len(operations))


def test_undocumented_methods_are_refused(client: FlaskClient, services: Services) -> None:
    document = json.loads(client.get("/openapi.json").data)
    ids = {"{job_id}": submitted(services).id, "{album_id}": "x", "{name}": "x"}
    for path, described in document["paths"].items():
        for name, value in ids.items():
            path = path.replace(name, value)  # noqa: PLW2901
        allowed = {method.upper() for method in described}
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "XYZZY"} - allowed:
            response = client.open(path, method=method)
            assert response.status_code == 405, (method, path)
            assert allowed <= set(response.headers["Allow"].split(", "))
            require_answer(response)


HEADERS = (
    "Accept", "Accept-Encoding", "Accept-Language", "Content-Type", "Cookie", "Host", "Idempotency-Key", "If-Match",
    "If-Modified-Since", "If-None-Match", "If-Range", "Last-Event-ID", "Origin", "Prefer", "Range", "Sec-Fetch-Site",
    "Authorization", "Transfer-Encoding", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
)  # fmt: skip
VALUES = (
    "", " ", "*", "[", "http://[", "http://a:b@c:99999", "bytes=-", "bytes=9-1", "bytes=0-" + 50 * ",1-2", "wait=1e9",
    "wait=" + "9" * 5000, "wait=-1", "respond-async, wait=0", '"', 'W/"', "W/" + '"a",' * 900, "a/b;q=nan",
    "zh;q=1e999", "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\xff",
    "image/", "image/png; a", "application/json; charset=utf-7", "text/html; charset=nothing", "lang=\xff; lang",
    "9" * 40, "0-0", "18446744073709551615-0", "Basic \xff", "Bearer " + "x" * 5000, "chunked",
    "Wed, 99 Foo 99999 99:99:99 GMT",
)  # fmt: skip
PLACES = (
    "/", "/docs", "/metrics", "/static/..%2f..%2fetc/passwd", "/%00", "/api/v1/styles", JOBS, f"{JOBS}/JOB",
    f"{JOBS}/JOB/result", f"{JOBS}/JOB/events", "ALBUM", "ALBUM/photos", "ALBUM/events", "ALBUM/archive", "ALBUM/check",
)  # fmt: skip


def hostile_headers() -> st.SearchStrategy[dict[str, str]]:
    characters = st.characters(max_codepoint=255, exclude_characters="\r\n")
    return st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(VALUES) | st.text(characters, max_size=40))


def test_no_header_crashes_a_request(client: FlaskClient, services: Services, album: str) -> None:
    job = submitted(services)
    convert(services, job.id)

    def check(example: tuple[str, str, dict[str, str], bytes]) -> None:
        place, method, headers, body = example
        path = place.replace("JOB", job.id).replace("ALBUM", album)
        with within_bounds():
            require_answer(client.open(path, method=method, headers=headers, data=body))

    methods, bodies = ["GET", "HEAD", "POST", "PUT", "OPTIONS"], [b"", b"{}", b"--a\r\n", photo_bytes()]
    example = st.tuples(st.sampled_from(PLACES), st.sampled_from(methods), hostile_headers(), st.sampled_from(bodies))
    fuzz(example, check, examples=300)


def form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--x\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (name.encode(), data)
        for name, data in parts) + b"--x--\r\n"  # fmt: skip


FORMS = [
    form(('name="photo"; filename="a.png"', photo_bytes((16, 16))), ('name="style"', b"hinata-light")),
    form(("name=photo; filename*=UTF-8''%e6%a1%9c.png", photo_bytes((16, 16))), ('name="max_side"', b"64")),
    form(*[('name="photos"; filename="../a.png"', photo_bytes((16, 16), seed=seed)) for seed in range(2)]),
]
TEXTS = [
    b'{"name": "Summer", "style": "hinata-light", "max_side": 64, "format": "png", "webhook": "https://a.example/x"}',
    b'{"sha256": ["' + b"0" * 64 + b'", "' + b"f" * 64 + b'"]}',
    b'{"name": "\\ud83d\\ude00", "max_side": 1e2}',
]


def test_no_body_crashes_a_request(client: FlaskClient, album: str) -> None:
    def send_form(body: bytes) -> None:
        for path in (JOBS, f"{album}/photos"):
            with within_bounds():
                require_answer(client.post(path, data=body, content_type="multipart/form-data; boundary=x"))

    def send_json(body: bytes) -> None:
        for path in (ALBUMS, f"{album}/check"):
            with within_bounds():
                require_answer(client.post(path, data=body, content_type="application/json"))

    fuzz(damaged(FORMS), send_form, examples=150, share=0.5)
    fuzz(damaged(TEXTS), send_json, examples=200, share=0.5)


def zipped(files: dict[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    return zip_of(files, compression)


def big_zipped(name: str, data: bytes) -> bytes:
    """An archive with the fields of ZIP64 (APPNOTE 4.3.14 and 4.5.3), which small ones do not need."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open(name, "w", force_zip64=True) as entry:
        entry.write(data)
    plain, end = buffer.getvalue(), buffer.getvalue().rindex(b"PK\5\6")
    directory = struct.unpack_from("<II", plain, end + 12)
    wide = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, *directory)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    return (
        plain[:end] + wide + locator + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, *2 * [0xFFFFFFFF], 0)
    )


def overlapping(entries: int, packed: bytes, size: int) -> bytes:
    """An archive with many directory entries that share the same piece of the file."""
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 33, 0, len(packed), size, 1, 0) + b"a" + packed
    listed = (
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 33, 0, len(packed), size, 1, *6 * [0]) + b"a"
    )
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, entries, entries, entries * len(listed), len(local), 0)
    return local + entries * listed + end


def bzip2_of_zeros(blocks: int) -> bytes:
    """A bzip2 file that repeats a block of 43 MiB: 40 bytes each, made without compressing gigabytes."""
    end = f"{0x177245385090:048b}"
    bits = "".join(f"{byte:08b}" for byte in bz2.compress(bytes(43 << 20)))
    head, block = bits[:32], bits[32 : bits.rindex(end)]
    checksum = 0
    for _ in range(blocks):
        checksum = (checksum << 1 & 0xFFFFFFFF | checksum >> 31) ^ int(block[48:80], 2)
    bits = head + blocks * block + end + f"{checksum:032b}"
    return int(bits + "0" * (-len(bits) % 8), 2).to_bytes(-(-len(bits) // 8), "big")


def packed_as(method: int, name: str, packed: bytes) -> bytes:
    """An archive of one entry, which claims to unpack to its own size."""
    archive = bytearray(zipped({name: packed}, zipfile.ZIP_STORED))
    for place in (8, archive.rindex(b"PK\1\2") + 10):
        struct.pack_into("<H", archive, place, method)
    return bytes(archive)


def linked(name: str) -> zipfile.ZipInfo:
    link = zipfile.ZipInfo(name)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return link


HOSTILE_NAMES = (
    "../../canary.png", "/canary.png", "C:\\canary.png", "..\\..\\canary.png", "a/../../../canary.png", "c\0anary.png",
    "~/canary.png", "%2e%2e/canary.png", "x" * 300 + ".png",
    "a/" * 200 + "b.png", "\u202egnp.exe", "con.png", "-rf.png",
)  # fmt: skip


def small_archives() -> list[bytes]:
    photo = photo_bytes((16, 16))
    return [
        zipped({"a.png": photo, "d/": b"", "d/b.png": photo_bytes((16, 16), seed=1), "c.txt": b"no photo"}),
        zipped({"桜.png": photo, "a.png": photo}, zipfile.ZIP_STORED),
        zipped({name: photo_bytes((16, 16), seed=seed) for seed, name in enumerate(HOSTILE_NAMES)}),
        zipped({linked("link.png"): b"/etc/passwd", "a.png": photo}),
        zipped({"inner.zip": zipped({"a.png": photo})}),
        zipped({"zeros.png": bytes(3 << 20)}),
        zipped({"a.png": photo}, zipfile.ZIP_BZIP2),
        zipped({"a.png": photo}, zipfile.ZIP_LZMA),
        packed_as(zipfile.ZIP_BZIP2, "a.png", bzip2_of_zeros(48)),
        big_zipped("a.png", photo),
        overlapping(50, b"\3\0", 0),
        b"before" + zipped({"a.png": photo}),
    ]


Confined = tuple[FlaskClient, Callable[[], None]]


@pytest.fixture
def confined(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Confined:
    """A client of a service in a folder of its own, and a check that nothing was written outside its store."""
    folders = {name: tmp_path / "outer" / name for name in ("data", "temporary", "work")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    (tmp_path / "canary.png").write_bytes(b"canary")
    (folders["work"] / "canary.png").write_bytes(b"canary")
    monkeypatch.setattr(tempfile, "tempdir", str(folders["temporary"]))
    monkeypatch.chdir(folders["work"])
    own = connect(services.settings.model_copy(update={"data_dir": folders["data"]}))
    before = _listing(tmp_path)

    def require_confinement() -> None:
        new = {path for path, what in _listing(tmp_path).items() if before.get(path) != what}
        kept = re.compile(r"outer/data/store(/\.part|/public|/public/photos|/public/photos/[0-9a-f]{64})?")
        assert [path for path in new if not kept.fullmatch(path)] == []

    return create_app(own).test_client(), require_confinement


def _listing(folder: Path) -> dict[str, int]:
    """Return every path in a folder, with the sizes of files."""
    files = [path for path in folder.rglob("*") if not path.name.endswith(".sock")]
    return {str(path.relative_to(folder)): path.stat().st_size if path.is_file() else 0 for path in files}


def test_the_bzip2_bomb_of_these_tests_decompresses_as_intended() -> None:
    for blocks in (1, 3):
        assert bz2.decompress(bzip2_of_zeros(blocks)) == bytes(blocks * (43 << 20))
    assert len(bzip2_of_zeros(48)) < 4096  # and would unpack to 2 GiB


def test_a_hostile_archive_writes_nothing_outside_the_store(confined: Confined) -> None:
    client, require_confinement = confined

    def send(archive: bytes) -> None:
        album = str(client.post(ALBUMS, json={}).headers["Location"])
        with within_bounds():
            response = client.post(f"{album}/photos", data={"photos": [(BytesIO(archive), "a.zip")]})
        require_answer(response)
        for refused in json.loads(response.data)["rejected"]:
            assert refused["error"]["code"] != "internal"
        client.delete(album)
        require_confinement()

    for archive in small_archives():
        send(archive)
    fuzz(damaged(small_archives(), at_end=True), send, examples=120, share=0.7)
    fuzz(damaged(small_archives()), send, examples=50, share=0.3)


def expected_of(row: dict[str, str]) -> int:
    return {"bad": 422, "bomb": 413}.get(row["file"].split("_")[0], 202)


def test_every_photo_of_the_folder_is_handled_as_its_manifest_says(
    client: FlaskClient, services: Services, photos_dir: Path
) -> None:
    manifest = photos_dir / "MANIFEST.tsv"
    if not manifest.exists():
        pytest.skip("there is no MANIFEST.tsv")
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["file"] for row in rows} == {path.name for path in photos_dir.iterdir()} - {manifest.name}
    for row in rows:
        photo = (photos_dir / row["file"]).read_bytes()
        response = client.post(f"{JOBS}?max_side=128", data=photo, content_type="image/*")
        require_answer(response)
        assert response.status_code == expected_of(row), row["file"]
        if response.status_code == 202:
            require_converted(services, json.loads(response.data), row)


def require_converted(services: Services, job: Json, row: dict[str, str]) -> None:
    convert(services, job["id"])
    assert services.jobs.get(job["id"]).state is State.SUCCEEDED, row["file"]
    width, height = map(int, row["size_px"].split("x"))
    if row["orientation"].isdigit() and int(row["orientation"]) >= 5:
        width, height = height, width
    assert (job["photo"]["width"], job["photo"]["height"]) == (width, height), row["file"]
