"""The album page in a real browser against the real service."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image
from playwright.sync_api import CDPSession, Locator, Page, Request, Route, expect

from shared.errors import SakugaError
from shared.photos.formats import Limits, too_many_bytes
from shared.photos.opening import require_size
from tests.browsing import DESKTOP, PHONE, WAIT_MS, OpenPage, hand_over, payload, scene, swipe, way_in
from tests.conftest import AXE, IN_CI, ROOT, STYLES, RunningService, wait_until
from web.languages import CHINESE, CHINESE_DESCRIPTIONS

BROKEN = {"04 cut short.jpg": "This photo couldn't be converted", "09 diary.jpg": "We can't read this file as an image"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dozen photos, two of them broken, with the other files usual in such folders."""
    folder = tmp_path_factory.mktemp("home") / "Summer 夏"
    (folder / "beach").mkdir(parents=True)
    for number in range(1, 13):
        name = next((name for name in BROKEN if name.startswith(f"{number:02}")), f"{number:02}.jpg")
        photo = scene(seed=200 + number, size=(480 + 10 * number, 400))
        (folder / name).write_bytes({"04": photo[:2000], "09": b"Dear diary"}.get(name[:2], photo))
    (folder / "12.jpg").rename(folder / "beach" / "12.jpg")
    (folder / ".hidden.jpg").write_bytes(b"?")
    (folder / "readme.txt").write_text("no photo")
    return folder


def names_in(folder: Path) -> list[str]:
    """The names of the folder's photos on the page, in its order."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*.jpg"))


def choose_folder(page: Page, folder: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Choose a folder").locator("visible=true").click()
    chooser.value.set_files(folder)


def choose_files(page: Page, files: list[Path], way_in: str = "Choose photos") -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_text(way_in).locator("visible=true").click()
    chooser.value.set_files(files)


def photos_of(folder: Path, count: int) -> list[Path]:
    return [folder / name for name in names_in(folder) if name not in BROKEN][:count]


def story(page: Page) -> Locator:
    return page.locator("#album-story")


def tile(page: Page, name: str) -> Locator:
    return page.locator(f'.tile[title="{name}"]')


def names_shown(page: Page) -> list[str]:
    return list(page.locator(".tile").evaluate_all("tiles => tiles.map((tile) => tile.title)"))


def expect_over(page: Page, sentence: str) -> None:
    expect(story(page)).to_contain_text(sentence, timeout=WAIT_MS)
    expect(page.get_by_role("progressbar")).to_be_hidden()


def saved_archive(page: Page) -> tuple[str, zipfile.ZipFile]:
    with page.expect_download() as download:
        page.get_by_role("link", name="Save all").click()
    return download.value.suggested_filename, zipfile.ZipFile(download.value.path())


def name_sent(request: Request) -> str:
    """The name of the photo that a request sends; the browser reveals it only for routed requests."""
    found = re.search(rb'filename="([^"]*)"', request.post_data_buffer or b"")
    return found.group(1).decode() if found else ""


def names_sent(page: Page) -> list[str]:
    """The names of the photos that the page sends from now on."""
    sent: list[str] = []

    def note(route: Route) -> None:
        sent.append(name_sent(route.request))
        route.continue_()

    page.route("**/photos", note)
    return sent


def lose(page: Page, *, after: int) -> Callable[[], None]:
    """Let this many photos through and drop the others; return a function that lets all through again."""
    passed = 0

    def answer(route: Route) -> None:
        nonlocal passed
        passed += 1
        route.continue_() if passed <= after else route.abort()

    page.route("**/photos", answer)
    return lambda: page.unroute("**/photos")


def test_a_chosen_folder_becomes_an_album_that_fills_in(open_page: OpenPage, folder: Path) -> None:
    page = open_page(motion=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    choose_folder(page, folder)
    expect(page.get_by_role("heading", name="Summer 夏", level=1)).to_be_visible()
    skipped = "1 file was skipped because it isn't a photo. 1 photo was skipped because it is hidden"
    expect(page.get_by_text(skipped)).to_be_visible()
    expect_over(page, "10 of 12 pictures are done, 2 failed")
    assert names_shown(page) == names_in(folder)
    for name, reason in BROKEN.items():
        expect(tile(page, name)).to_contain_text(reason)
        expect(tile(page, name)).to_have_accessible_name(re.compile(rf"{re.escape(reason)} .+\. {re.escape(name)}"))
    expect(page.get_by_role("button", name="Retry failed")).to_be_hidden()  # the photos themselves are broken
    for number in range(10):
        expect(page.locator("li.drawn").nth(number)).to_be_attached()
    file_name, archive = saved_archive(page)
    assert file_name == "Summer 夏.zip"
    assert archive.testzip() is None
    pictures = sorted(set(names_in(folder)) - set(BROKEN))
    assert sorted(archive.namelist()) == sorted([*pictures, "failures.json"])
    assert set(json.loads(archive.read("failures.json"))) == set(BROKEN)
    with Image.open(io.BytesIO(archive.read("beach/12.jpg"))) as picture:
        assert picture.size == (600, 400)
    assert said == [], "nothing is left in the console"


def test_a_dropped_folder_becomes_an_album(page: Page, folder: Path) -> None:
    drag(page.context.new_cdp_session(page), folder)
    expect(page.get_by_role("heading", name="Summer 夏", level=1)).to_be_visible()
    expect_over(page, "10 of 12 pictures are done, 2 failed")
    expect(tile(page, "beach/12.jpg")).to_be_visible()


def drag(session: CDPSession, folder: Path) -> None:
    """Drag from the desktop and drop on the page, because a script cannot create folder entries."""
    data: dict[str, Any] = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def test_several_dropped_photos_become_an_album_of_the_day(page: Page) -> None:
    hand_over(page, "drop", *(payload(scene(seed=230 + n), "same name.jpg") for n in range(3)))
    expect(page.get_by_role("heading", name="Album from", level=1)).to_be_visible()
    expect_over(page, "All 3 pictures are done")
    expect(tile(page, "same name (3).jpg")).to_be_visible()


def test_a_zip_archive_becomes_an_album(page: Page, folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "Winter.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for photo in photos_of(folder, 3):
            packed.write(photo, photo.name)
    choose_files(page, [archive])
    expect(page.get_by_role("heading", name="Winter", level=1)).to_be_visible()
    expect_over(page, "All 3 pictures are done")


def test_a_file_that_is_not_an_archive_is_explained(page: Page, tmp_path: Path) -> None:
    archive = tmp_path / "broken.zip"
    archive.write_bytes(b"PK\x03\x04 and then nothing")
    choose_files(page, [archive])
    expect(page.get_by_role("alert").locator("visible=true")).to_contain_text("This is not a ZIP archive")
    expect(story(page)).to_have_text("This album has no photos yet.")


def test_a_folder_without_photos_is_explained(page: Page, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    choose_folder(page, tmp_path)
    expect(page.get_by_role("heading", name="No photos found")).to_be_visible()
    expect(way_in(page)).to_be_visible()


def test_one_photo_does_not_become_an_album(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 1))
    expect(page.get_by_role("heading", name="Here it is")).to_be_visible(timeout=WAIT_MS)


IS_KEPT = """async ([album, name]) =>
    Boolean(await (await import("/static/js/kept-photos.js")).keptMiniature(album, name))"""


def test_an_album_continues_after_a_reload(page: Page, folder: Path, busy: Callable[[], None]) -> None:
    choose_files(page, photos_of(folder, 6))
    expect(story(page)).to_contain_text("0 of 6 done")
    page.wait_for_url(re.compile("#album="))
    expect(page.locator("li[data-state='queued']")).to_have_count(6)
    address = page.url
    wait_until(lambda: page.evaluate(IS_KEPT, [address.partition("#album=")[2], "01.jpg"]), "the browser keeps a photo")
    page.reload()
    expect(story(page)).to_contain_text("0 of 6 done")
    expect(page.locator(".tile .photo").first).to_be_visible()  # kept by the browser
    busy()
    expect_over(page, "All 6 pictures are done")
    assert page.url == address


def test_after_a_reload_while_sending_only_what_is_missing_is_sent(page: Page, folder: Path) -> None:
    restore = lose(page, after=4)
    choose_folder(page, folder)
    expect(story(page)).to_contain_text("The service is not responding", timeout=WAIT_MS)
    page.wait_for_url(re.compile("#album="))
    expect(page.locator("li:is([data-state='succeeded'], [data-state='failed'])")).to_have_count(4, timeout=WAIT_MS)
    page.reload()
    restore()  # not before, or the page would go on uploading
    expect(page.get_by_text("8 photos have not been uploaded yet.")).to_be_visible()
    expect(tile(page, "beach/12.jpg")).to_have_accessible_name(re.compile("not uploaded yet +beach/12.jpg"))
    sent = names_sent(page)
    choose_folder(page, folder)
    expect_over(page, "10 of 12 pictures are done, 2 failed")
    expect(page.get_by_text("have not been uploaded yet")).to_be_hidden()
    # A refused photo is not part of the album: it may have been repaired since.
    assert len([name for name in sent if "cut short" not in name]) == 8
    assert names_shown(page) == names_in(folder)


def test_the_page_survives_ten_seconds_without_a_connection(page: Page, folder: Path, busy: Callable[[], None]) -> None:
    page.clock.install()
    with page.expect_response("**/events"):  # an open stream keeps receiving while the browser is offline
        choose_files(page, photos_of(folder, 5))
    expect(page.locator("li[data-state='queued']")).to_have_count(5)
    page.context.set_offline(True)
    expect(story(page)).to_contain_text("The service is not responding", timeout=WAIT_MS)
    busy()
    page.clock.fast_forward(10_000)
    page.context.set_offline(False)
    expect_over(page, "All 5 pictures are done")
    expect(page.locator("li.drawn")).to_have_count(5)


def test_a_dead_connection_is_noticed(
    page: Page, service: RunningService, folder: Path, busy: Callable[[], None]
) -> None:
    page.clock.install()
    with page.expect_response("**/events"):
        choose_files(page, photos_of(folder, 2))
    expect(page.locator("li[data-state='queued']")).to_have_count(2)
    with paused(service.parts("web")[0].children()):
        with page.expect_request("**/api/v1/albums/*"):
            page.clock.fast_forward(30_000)
        page.clock.fast_forward(15_000)
        expect(story(page)).to_contain_text("The service is not responding")
    busy()
    expect_over(page, "All 2 pictures are done")


@contextmanager
def paused(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            process.resume()


def test_photos_are_sent_when_the_connection_is_back(page: Page, folder: Path) -> None:
    page.context.set_offline(True)
    choose_files(page, photos_of(folder, 3))
    expect(story(page)).to_contain_text("The service is not responding")
    page.context.set_offline(False)
    expect_over(page, "All 3 pictures are done")


def test_the_button_sends_failed_photos_again(page: Page, folder: Path) -> None:
    def refuse(route: Route) -> None:
        if name_sent(route.request) != "02.jpg":
            return route.continue_()
        problem = {"code": "bad_request", "title": "Malformed request", "detail": "It stopped coming."}
        return route.fulfill(status=400, json=problem)

    page.route("**/photos", refuse)
    choose_files(page, photos_of(folder, 3))
    expect_over(page, "2 of 3 pictures are done, 1 failed")
    expect(tile(page, "02.jpg")).to_contain_text("Malformed request")
    page.unroute("**/photos")
    page.get_by_role("button", name="Retry failed").click()
    expect_over(page, "All 3 pictures are done")
    expect(page.get_by_role("button", name="Retry failed")).to_be_hidden()


def test_a_canceled_album_can_still_be_drawn(page: Page, folder: Path, busy: Callable[[], None]) -> None:
    choose_files(page, photos_of(folder, 4))
    expect(page.locator("li[data-state='queued']")).to_have_count(4)
    page.get_by_role("button", name="Cancel").click()
    expect_over(page, "0 of 4 pictures are done, 4 canceled")
    busy()
    page.get_by_role("button", name="Draw the rest").click()
    expect_over(page, "All 4 pictures are done")


def test_a_canceled_album_can_be_drawn_before_the_page_has_heard_of_its_jobs(
    page: Page, folder: Path, busy: Callable[[], None]
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(re.compile(r"/albums/[0-9a-f]+$"), hold)
    choose_files(page, photos_of(folder, 4))
    expect(page.locator("li[data-state='queued']")).to_have_count(4)
    page.get_by_role("button", name="Cancel").click()
    expect_over(page, "0 of 4 pictures are done, 4 canceled")
    busy()
    page.get_by_role("button", name="Draw the rest").click()
    for route in held:
        route.continue_()
    page.unroute(re.compile(r"/albums/[0-9a-f]+$"))
    expect_over(page, "All 4 pictures are done")


def test_an_erased_album_is_gone_from_everywhere(page: Page, service: RunningService, folder: Path) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    album = page.url.partition("#album=")[2]
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    expect_over(page, "All 2 pictures are done")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(way_in(page)).to_be_visible()
    expect(page.get_by_text("Recent in this browser")).to_be_hidden()
    assert httpx.get(f"{service.url}/api/v1/albums/{album}").status_code == 404


def test_another_tab_shows_what_is_added_renamed_and_deleted(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    other = page.context.new_page()
    other.goto(page.url)
    expect_over(other, "All 2 pictures are done")
    hand_over(page, "drop", payload(scene(seed=241), "new.jpg"))
    expect_over(other, "All 3 pictures are done")
    expect(tile(other, "new.jpg")).to_be_visible()
    page.get_by_role("button", name="Rename").click()
    page.get_by_role("dialog").get_by_role("textbox").fill("By the sea")
    page.keyboard.press("Enter")
    for tab in (page, other):
        expect(tab.get_by_role("heading", name="By the sea", level=1)).to_be_visible()
    assert saved_archive(other)[0] == "By the sea.zip"
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(other.get_by_role("heading", name="Album not found", level=1)).to_be_visible()
    expect(other.locator(".tile")).to_have_count(0)
    expect(other.get_by_role("link", name="Save all")).to_be_hidden()


def test_an_album_that_has_gone_is_noticed_when_it_is_to_be_saved(
    page: Page, service: RunningService, folder: Path
) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    httpx.delete(f"{service.url}/api/v1/albums/{page.url.partition('#album=')[2]}")
    page.get_by_role("link", name="Save all").click()
    expect(page.get_by_role("heading", name="Album not found", level=1)).to_be_visible()


def test_an_album_says_how_it_is_drawn(page: Page, folder: Path) -> None:
    page.get_by_role("radio", name="Yoi").check()
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    expect(page.get_by_text("Yoi, 1024 px")).to_be_visible()
    expect(tile(page, "01.jpg")).to_contain_text("01.jpg")


def test_the_viewers_buttons_stay_where_they_are(page: Page, folder: Path) -> None:
    choose_files(page, [folder / name for name in names_in(folder)])
    expect_over(page, "10 of 12 pictures are done")
    tile(page, "01.jpg").click()
    dialog = page.get_by_role("dialog")
    places = []
    for name in names_in(folder)[:5]:  # one of which is broken
        expect(dialog.get_by_role("heading", name=name)).to_be_visible()
        places.append(dialog.get_by_role("button", name="Next").bounding_box())
        dialog.get_by_role("button", name="Next").click()
    assert places == [places[0]] * 5


def test_a_finger_swipes_to_the_next_picture_and_moves_the_line(open_page: OpenPage, folder: Path) -> None:
    page = open_page(size=PHONE, touch=True)
    choose_files(page, photos_of(folder, 3))
    expect_over(page, "All 3 pictures are done")
    tile(page, "01.jpg").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_alt_text("After: the anime picture")).to_be_visible()
    box = dialog.locator(".compare").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    swipe(page, (box["x"] + box["width"] / 2, middle), (box["x"] + box["width"] / 4, middle))
    expect(dialog.get_by_role("slider")).to_have_value("25")
    expect(dialog.get_by_role("heading", name="01.jpg")).to_be_visible()
    swipe(page, (box["x"] + 0.9 * box["width"], middle), (box["x"] + 0.5 * box["width"], middle))
    expect(dialog.get_by_role("heading", name="02.jpg")).to_be_visible()
    swipe(page, (box["x"] + 0.5 * box["width"], middle), (box["x"] + 0.9 * box["width"], middle))
    expect(dialog.get_by_role("heading", name="01.jpg")).to_be_visible()


def test_more_photos_can_be_added_and_none_is_sent_twice(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    sent = names_sent(page)
    hand_over(page, "drop", payload(photos_of(folder, 1)[0].read_bytes(), "01.jpg"))
    expect(page.get_by_role("alert").locator("visible=true")).to_have_text("All of these are already in the album.")
    hand_over(page, "drop", payload(scene(seed=240), "01.jpg"))
    expect_over(page, "All 3 pictures are done")
    assert sent == ["01 (2).jpg"]


def test_earlier_albums_are_found_again(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    page.get_by_role("button", name="New album").click()
    page.get_by_role("link", name=re.compile("Album from.*2 photos")).click()
    expect_over(page, "All 2 pictures are done")
    page.go_back()
    page.get_by_role("button", name="Clear this list").click()
    expect(page.get_by_text("Recent in this browser")).to_be_hidden()


def test_an_unknown_album_in_the_address_is_explained(open_page: OpenPage) -> None:
    page = open_page("/#album=nobody-knows-it")
    expect(page.get_by_role("heading", name="Album not found", level=1)).to_be_visible()
    page.get_by_role("button", name="New album").click()
    expect(way_in(page)).to_be_visible()


def test_a_tile_is_opened_and_left_by_keyboard(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 4))
    expect_over(page, "All 4 pictures are done")
    tile(page, "01.jpg").focus()
    page.keyboard.press("ArrowRight")
    expect(tile(page, "02.jpg")).to_be_focused()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="02.jpg")).to_be_visible()
    expect(dialog).to_contain_text("2 of 4")
    expect(dialog.get_by_alt_text("Before: the photo")).to_be_visible()
    expect(dialog.get_by_alt_text("After: the anime picture")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(dialog.get_by_role("heading", name="03.jpg")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("heading", name="01.jpg")).to_be_visible()
    line = dialog.get_by_role("slider")
    line.focus()
    page.keyboard.press("ArrowRight")
    expect(line).to_have_value("51")
    expect(dialog.get_by_role("heading", name="01.jpg")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(tile(page, "01.jpg")).to_be_focused()
    expect(tile(page, "01.jpg")).to_have_accessible_name("01.jpg, done")
    page.keyboard.press("End")
    expect(tile(page, "05.jpg")).to_be_focused()


def test_one_picture_is_saved_under_the_name_of_its_photo(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    tile(page, "02.jpg").click()
    save = page.get_by_role("dialog").get_by_role("link", name="Save picture")
    expect(save).to_have_attribute("download", re.compile("02"))
    with page.expect_download() as download:
        save.click()
    assert download.value.suggested_filename == "02-hinata-light.jpg"
    with Image.open(download.value.path()) as picture:
        assert picture.size == (500, 400)


def test_after_a_reload_the_photo_is_still_beside_its_picture(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    album = page.url.partition("#album=")[2]
    wait_until(lambda: page.evaluate(IS_KEPT, [album, "01.jpg"]), "the browser keeps the photo")
    page.reload()
    expect_over(page, "All 2 pictures are done")
    tile(page, "01.jpg").click()
    expect(page.get_by_role("dialog").get_by_alt_text("Before: the photo")).to_be_visible()


def test_progress_is_not_read_out_photo_by_photo(page: Page, folder: Path) -> None:
    page.evaluate("""() => {
      window.heard = [];
      const status = document.getElementById("announcement");
      new MutationObserver(() => window.heard.push(status.textContent)).observe(status, { childList: true });
    }""")
    choose_files(page, photos_of(folder, 10))
    expect_over(page, "All 10 pictures are done")
    heard = page.evaluate("window.heard")
    assert 2 <= len(heard) <= 6
    assert "All 10 pictures are done" in heard[-1]


def test_nothing_of_an_album_scrolls_sideways_on_a_phone(open_page: OpenPage, folder: Path) -> None:
    page = open_page(size=PHONE, touch=True)
    choose_files(page, [folder / name for name in names_in(folder)])
    expect_over(page, "10 of 12 pictures are done")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    tile(page, "01.jpg").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    assert page.evaluate("document.getElementById('viewer').scrollWidth") <= PHONE[0]


def test_hundreds_of_tiles_are_not_redrawn(page: Page) -> None:
    page.route("**/photos", lambda _: None)  # no request is ever answered
    page.evaluate("""() => {
      const transfer = new DataTransfer();
      for (let number = 0; number < 500; number++)
        transfer.items.add(new File([`${number}`], `${number}.jpg`, { type: "image/jpeg" }));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }""")
    expect(page.locator(".tile")).to_have_count(500)
    first = page.locator(".tile").first.element_handle()
    assert page.evaluate("document.querySelectorAll('.photo[src]').length") < 100, "only what is near has a photo"
    page.get_by_role("button", name="Cancel").click()
    expect(story(page)).to_contain_text("500 canceled")
    assert first.evaluate("tile => tile.isConnected")


def test_the_focus_goes_on_to_the_start_where_an_album_ends(page: Page) -> None:
    hand_over(page, "drop", *(payload(scene(seed=seed), f"{seed}.jpg") for seed in (260, 261)))
    expect(page.locator("#new")).to_be_visible(timeout=WAIT_MS)
    page.locator("#new").press("Enter")
    expect(page.locator("h1.promise")).to_be_focused()


class TestChinese:
    def test_an_album_is_shown_in_chinese(self, open_page: OpenPage, folder: Path) -> None:
        page = open_page(locale="zh-CN")
        assert page.evaluate("document.documentElement.lang") == "zh"
        choose_files(page, [folder / name for name in names_in(folder)], "选择照片")
        expect(story(page)).to_contain_text("12 张中已完成 10 张，2 张失败", timeout=WAIT_MS)  # noqa: RUF001
        expect(story(page)).to_contain_text(re.compile(r"保留至星期. \d\d:\d\d。"))
        expect(tile(page, "09 diary.jpg")).to_contain_text("无法识别这个图片文件")
        page.get_by_role("link", name="English").click()
        expect_over(page, "10 of 12 pictures are done")
        page.goto("/")
        expect(way_in(page)).to_be_visible()

    def test_every_sentence_of_the_page_has_a_chinese_translation(self) -> None:
        templates = ROOT / "web" / "templates"
        page = "".join(
            (templates / f"{name}.html").read_text() for name in ("index", "album", "compare", "crop", "sign-in")
        )
        assert set(re.findall(r'_\("([^"]+)"\)', page)) == set(CHINESE)

    def test_every_style_that_comes_with_sakuga_is_described_in_chinese(self) -> None:
        assert {style.description for style in STYLES.values()} == set(CHINESE_DESCRIPTIONS)

    def test_the_services_sentences_with_numbers_are_known_to_the_page(self) -> None:
        phrases = (ROOT / "web" / "static" / "js" / "phrases-zh.js").read_text()
        patterns = re.findall(r"^ +\[?(?:\n +)?/(\^.+\$)/,", phrases, re.MULTILINE)
        assert len(patterns) == 5
        sentences = [too_many_bytes(32 << 20).detail]
        for size in ((20_000, 20_000), (8, 900)):
            with pytest.raises(SakugaError) as refused:
                require_size(size, Limits(32 << 20, 64))
            sentences.append(refused.value.detail)
        for sentence in sentences:
            assert any(re.search(pattern, sentence) for pattern in patterns), sentence

    @pytest.mark.parametrize(
        ("header", "lang"), [("zh-TW,zh;q=0.9", "zh"), ("de-DE,de;q=0.9", "en"), ("", "en"), ("fr, zh-CN;q=0.5", "zh")]
    )
    def test_the_language_follows_the_browser(self, service: RunningService, header: str, lang: str) -> None:
        answer = httpx.get(f"{service.url}/", headers={"Accept-Language": header})
        assert answer.headers["Content-Language"] == lang
        assert "Accept-Language" in answer.headers["Vary"]


@pytest.mark.skipif(not AXE.is_file() and not IN_CI, reason="the extra dev is not installed, or SAKUGA_AXE is wrong")
@pytest.mark.parametrize(
    ("size", "dark", "locale"), [(DESKTOP, False, "en-US"), (PHONE, True, "zh-CN")], ids=["desktop", "phone"]
)
def test_the_page_has_no_accessibility_violations(
    open_page: OpenPage, folder: Path, size: tuple[int, int], *, dark: bool, locale: str
) -> None:
    page = open_page(size=size, touch=size == PHONE, dark=dark, locale=locale)
    assert barriers(page) == []
    hand_over(page, "drop", payload(scene(seed=250)))
    expect(page.locator("#save")).to_be_visible()
    assert barriers(page) == []
    hand_over(page, "drop", payload(b"Dear diary", "diary.jpg"))
    expect(page.get_by_role("alert").locator("visible=true")).to_contain_text("JPEG")
    assert barriers(page) == []
    hand_over(page, "drop", *(payload((folder / name).read_bytes(), name) for name in names_in(folder)[:4]))
    expect(page.locator("#save-all")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_hidden()
    assert barriers(page) == []
    tile(page, "01.jpg").click()
    expect(page.locator("#viewer .after")).to_be_visible()
    assert barriers(page) == []
    page.keyboard.press("Escape")
    page.locator("#rename").click()
    assert barriers(page) == []
    page.keyboard.press("Escape")
    page.locator("#new").click()
    assert barriers(page) == []
    page.goto("/docs")
    assert barriers(page) == []


def barriers(page: Page) -> list[str]:
    """Return the violations that axe finds."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def test_an_album_that_keeps_its_photos_is_drawn_in_another_style_without_sending_them(
    page: Page, folder: Path
) -> None:
    page.get_by_role("checkbox", name="Keep the photos of an album").check()
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    first, names = page.url, names_shown(page)
    expect(page.get_by_text("The photos are kept as long as the pictures.")).to_be_visible()
    expect(page.locator("#redraw").get_by_role("button", name="Hinata")).to_be_hidden()
    sent = names_sent(page)
    page.locator("#redraw").get_by_role("button", name="Sumi").click()
    page.wait_for_url(lambda url: url != first)
    expect_over(page, "All 2 pictures are done")
    expect(page.locator("#album-look")).to_contain_text("Sumi")
    assert (names_shown(page), sent) == (names, [])
    tile(page, names[0]).click()
    expect(page.locator("#viewer").get_by_alt_text("Before: the photo")).to_be_visible()
    page.keyboard.press("Escape")
    page.go_back()
    expect(page.locator("#album-look")).to_contain_text("Hinata")


def test_an_album_that_does_not_keep_its_photos_offers_no_other_style(page: Page, folder: Path) -> None:
    choose_files(page, photos_of(folder, 2))
    expect_over(page, "All 2 pictures are done")
    expect(page.locator("#redraw")).to_be_hidden()
