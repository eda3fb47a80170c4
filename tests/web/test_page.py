"""The start page in a real browser against the real service."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Browser, Download, Locator, Page, Route, expect

from tests.browsing import (
    DESKTOP,
    PHONE,
    TELL_CSP_VIOLATIONS,
    WAIT_MS,
    OpenPage,
    choose,
    hand_over,
    payload,
    scene,
    swipe,
    way_in,
)
from tests.conftest import RunningService, held_photo

DROP_FILE_OF_SIZE = """(size) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(size)], "wall.jpg", { type: "image/jpeg" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


def expect_picture(page: Page) -> None:
    expect(page.get_by_role("heading", name="Here it is")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("#workbench").get_by_alt_text("After: the anime picture")).to_be_visible()
    expect(page.get_by_role("link", name="Save picture")).to_be_visible()


def expect_under_way(page: Page) -> None:
    headline = page.get_by_role("heading", name=re.compile("In the queue|Reading|Preparing|Drawing"))
    expect(headline).to_be_visible(timeout=WAIT_MS)


def save(page: Page) -> Download:
    with page.expect_download() as download:
        page.get_by_role("link", name="Save picture").click()
    return download.value


def saved_picture(page: Page) -> Image.Image:
    return Image.open(save(page).path()).convert("RGB")


def story(page: Page) -> Locator:
    return page.locator("#story")


def pixels(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image, dtype=np.float64)


@pytest.mark.parametrize(("size", "touch"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_a_chosen_photo_becomes_a_picture_of_it(open_page: OpenPage, size: tuple[int, int], *, touch: bool) -> None:
    page = open_page(size=size, touch=touch, motion=True)
    photo = scene()
    choose(page, payload(photo))
    expect_picture(page)
    picture = saved_picture(page)
    small = Image.open(io.BytesIO(photo)).resize(picture.size)
    assert picture.size == (640, 427)
    assert 1 < np.abs(pixels(picture) - pixels(small)).mean() < 60, "neither the photo itself nor something else"


@pytest.mark.parametrize(("size", "touch"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_a_dropped_photo_starts_at_once(open_page: OpenPage, size: tuple[int, int], *, touch: bool) -> None:
    page = open_page(size=size, touch=touch)
    hand_over(page, "dragover", payload(scene(seed=2)))
    expect(page.get_by_text("Drop it anywhere")).to_be_visible()
    hand_over(page, "drop", payload(scene(seed=2)))
    expect(page.get_by_text("Drop it anywhere")).to_be_hidden()
    expect_picture(page)


def test_a_pasted_photo_starts_at_once(page: Page) -> None:
    hand_over(page, "paste", payload(scene(seed=3)))
    expect_picture(page)


def test_nothing_scrolls_sideways_on_a_phone(open_page: OpenPage) -> None:
    page = open_page(size=PHONE, touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
    choose(page, payload(scene(seed=4)))
    expect_picture(page)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]


def test_a_real_photo_becomes_a_picture(page: Page, photos_dir: Path) -> None:
    photo = photos_dir / "exif_landscape_6.jpg"
    choose(page, payload(photo.read_bytes(), photo.name))
    expect_picture(page)
    width, height = saved_picture(page).size
    assert width > height, "the photo lies on its side; its EXIF orientation says so"


def test_a_file_that_is_not_a_photo_is_refused_with_the_allowed_formats(page: Page) -> None:
    choose(page, payload(b"Dear diary", "diary.jpg"))
    expect(page.get_by_role("alert")).to_contain_text("JPEG, PNG, WebP, HEIC")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    choose(page, payload(scene(seed=6)))  # the chooser is still there
    expect_picture(page)


def test_a_file_above_the_byte_limit_is_refused_before_it_is_sent(page: Page) -> None:
    methods: list[str] = []
    page.on("request", lambda request: methods.append(request.method))
    limit = int(page.locator("#workbench").get_attribute("data-max-upload-bytes") or 0)
    page.evaluate(DROP_FILE_OF_SIZE, limit + 1)
    expect(page.get_by_role("alert")).to_contain_text(f"at most {limit >> 20} MiB")
    assert "POST" not in methods


@pytest.mark.parametrize("name", ["bad_truncated.jpg", "bad_corrupt_header.jpg"])
def test_no_broken_preview_of_a_damaged_photo_is_shown(page: Page, photos_dir: Path, name: str) -> None:
    photo = photos_dir / name
    choose(page, payload(photo.read_bytes(), photo.name))
    expect(page.get_by_role("heading", name="This photo couldn't be converted")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text(re.compile("cut short|damaged"))
    expect(story(page)).to_have_text(name)
    expect(page.locator("#compare").get_by_text("This photo can't be previewed here.")).to_be_visible()
    expect(page.locator("#workbench").get_by_alt_text("Before: the photo")).to_be_hidden()
    expect(page.get_by_text("Example photo")).to_be_hidden()


def test_a_reload_during_conversion_finds_the_job_and_its_photo(page: Page, busy: Callable[[], None]) -> None:
    choose(page, payload(scene(seed=7)))
    expect_under_way(page)
    page.wait_for_url(re.compile("#job="))
    address = page.url
    page.reload()
    expect_under_way(page)
    expect(page.locator("#workbench").get_by_alt_text("Before: the photo")).to_be_visible()
    busy()
    expect_picture(page)
    expect(page.locator("#workbench").get_by_alt_text("Before: the photo")).to_be_visible()
    assert page.url == address


def test_a_canceled_photo_stays_selected_and_can_be_drawn(
    page: Page, service: RunningService, busy: Callable[[], None]
) -> None:
    choose(page, payload(scene(seed=8)))
    expect_under_way(page)
    page.wait_for_url(re.compile("#job="))
    job = page.url.partition("#job=")[2]
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="Canceled")).to_be_visible()
    assert httpx.get(f"{service.url}/api/v1/jobs/{job}", headers={"Prefer": "wait=20"}).json()["state"] == "canceled"
    busy()
    page.get_by_role("button", name="Draw it").click()
    expect_picture(page)


def test_a_second_photo_replaces_the_one_under_way(
    page: Page, service: RunningService, busy: Callable[[], None]
) -> None:
    choose(page, payload(scene(seed=20)))
    page.wait_for_url(re.compile("#job="))
    first = page.url.partition("#job=")[2]
    hand_over(page, "drop", payload(scene(seed=21, size=(300, 400))))
    page.wait_for_url(lambda url: "#job=" in url and first not in url)
    busy()
    expect_picture(page)
    expect(page.locator("#story")).to_contain_text(re.compile("300 . 400"))
    assert httpx.get(f"{service.url}/api/v1/jobs/{first}").json()["state"] == "canceled"


def test_a_waiting_photo_shows_its_place_in_the_queue(page: Page, busy: Callable[[], None]) -> None:
    choose(page, payload(scene(seed=9)))
    expect(page.locator("#story")).to_contain_text(re.compile(r"\d+ ahead of you|You're next"))
    expect(page.get_by_role("progressbar")).to_be_visible()
    busy()
    expect_picture(page)


def test_another_size_is_drawn_as_soon_as_it_is_chosen(page: Page) -> None:
    choose(page, payload(scene(seed=10, size=(1200, 800))))
    expect_picture(page)
    page.get_by_role("radio", name="1024").check()
    expect(story(page)).to_contain_text(re.compile("1024 . 683"))


def test_another_style_is_drawn_as_soon_as_it_is_chosen_and_saved(page: Page) -> None:
    choose(page, payload(scene(seed=30), "sea.jpg"))
    expect_picture(page)
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)
    page.get_by_role("radio", name="Sumi").check()
    expect(page.get_by_text("Ink and wash")).to_be_visible()
    saved = page.get_by_role("link", name="Save picture")
    expect(saved).to_have_attribute("download", "sea-sumi-light.jpg")
    assert save(page).suggested_filename == "sea-sumi-light.jpg"
    page.get_by_role("radio", name="Hinata").check()
    expect(saved).to_have_attribute("download", "sea-hinata-light.jpg")
    assert len(posts) == 1, "what is drawn already is not drawn again"
    page.go_back()
    expect(way_in(page)).to_be_visible()
    expect(page.locator("#earlier li")).to_have_count(1)
    expect(page.locator("#earlier li")).to_contain_text("sea.jpg Hinata, 1024 px")
    expect(page.locator("#earlier img")).to_have_attribute("src", re.compile("^data:image/webp"))


def test_after_a_reload_the_photo_can_still_be_drawn_in_another_style(page: Page) -> None:
    page.get_by_role("radio", name="Yoi").check()
    choose(page, payload(scene(seed=31), "sea.jpg"))
    expect_picture(page)
    page.reload()
    expect_picture(page)
    expect(page.get_by_role("radio", name="Yoi")).to_be_checked()
    page.get_by_role("radio", name="Hinata").check()
    saved = page.get_by_role("link", name="Save picture")
    expect(saved).to_have_attribute("download", "sea-hinata-light.jpg")


def test_the_example_is_shown_in_the_chosen_style(page: Page) -> None:
    picture = page.locator("#workbench").get_by_alt_text("After: the anime picture")
    expect(picture).to_have_attribute("src", re.compile("example-hinata"))
    page.get_by_role("radio", name="Yoi").check()
    expect(picture).to_have_attribute("src", re.compile("example-yoi"))


def test_a_photo_and_its_picture_are_named_after_the_photo_and_not_after_the_example(page: Page) -> None:
    expect(page.get_by_role("figure", name="Example photo by NASA")).to_be_visible()
    choose(page, payload(scene(seed=32), "sea.jpg"))
    expect_picture(page)
    expect(page.get_by_role("figure", name="sea.jpg")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Here it is")


def test_a_picture_is_saved_beside_its_photo(page: Page) -> None:
    choose(page, payload(scene(seed=33), "sea.jpg"))
    expect_picture(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save before and after").click()
    assert download.value.suggested_filename == "sea-hinata-light-before-after.jpg"
    with Image.open(download.value.path()) as both:
        assert both.size == (640, 427 + 12 + 427)


def test_a_picture_is_copied(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, payload(scene(seed=34)))
    expect_picture(page)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    types = page.evaluate("navigator.clipboard.read().then((items) => items.flatMap((item) => item.types))")
    assert types == ["image/png"]


def test_a_photo_is_rotated_and_cropped_and_drawn_again(page: Page) -> None:
    choose(page, payload(scene(seed=37), "sea.jpg"))
    expect_picture(page)
    page.get_by_role("button", name="Crop or rotate").click()
    dialog = page.get_by_role("dialog", name="Crop or rotate")
    dialog.get_by_role("button", name="Rotate right").click()
    box = dialog.locator("canvas").bounding_box()
    assert box is not None
    assert box["height"] > box["width"]
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 0.5 * box["height"], steps=4)
    page.mouse.up()
    dialog.get_by_role("button", name="Draw it").click()
    expect(story(page)).to_contain_text(re.compile(r"42\d . 31\d pixels, same size as the photo"))
    page.get_by_role("button", name="Crop or rotate").click()
    dialog.get_by_role("group", name="The part to keep").focus()
    page.keyboard.press("Shift+ArrowLeft")
    dialog.get_by_role("button", name="Draw it").click()
    expect(story(page)).to_contain_text(re.compile(r"62\d . 42\d pixels"))  # of the whole photo again


@pytest.mark.parametrize("kind", ["webp", "avif", "png"])
def test_transparency_survives_the_cropper(page: Page, kind: str) -> None:
    photo = Image.open(io.BytesIO(scene(seed=38))).convert("RGBA")
    photo.paste((0, 0, 0, 0), (0, 0, photo.width // 2, photo.height))
    buffer = io.BytesIO()
    photo.save(buffer, kind)
    page.get_by_role("radio", name="PNG").check()
    choose(page, payload(buffer.getvalue(), f"sea.{kind}", f"image/{kind}"))
    expect_picture(page)
    page.get_by_role("button", name="Crop or rotate").click()
    page.get_by_role("button", name="Rotate right").click()
    page.get_by_role("button", name="Draw it").click()
    expect(story(page)).to_contain_text(re.compile(r"42\d . 640 pixels"))
    download = save(page)
    assert download.suggested_filename == "sea-hinata-light.png"
    with Image.open(download.path()) as picture:
        opacity = np.asarray(picture.getchannel("A")) if "A" in picture.getbands() else np.full((640, 427), 255)
    assert opacity[:300].max() < 8, "what was on the left is above now"
    assert opacity[-300:].min() > 247


def test_a_comparison_is_zoomed_and_moved(page: Page) -> None:
    choose(page, payload(scene(seed=35)))
    expect_picture(page)
    frame = page.locator("#compare")
    zoom = frame.get_by_role("button", name="Zoom")
    zoom.click()
    expect(zoom).to_have_attribute("aria-pressed", "true")
    expect(frame).to_have_css("--zoom", "2.5")
    box = frame.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.up()
    expect(frame).to_have_css("--origin-x", re.compile("^-6[45]"))
    expect(page.get_by_role("slider")).to_have_value("50")
    zoom.click()
    expect(frame).to_have_css("--zoom", "1")


@pytest.mark.parametrize(("to", "value"), [((0.25, 0.5), "25"), ((0.5, 0.9), "44")], ids=["sideways", "down"])
def test_a_finger_moves_the_line_sideways_and_the_page_up_and_down(
    open_page: OpenPage, to: tuple[float, float], value: str
) -> None:
    page = open_page(size=PHONE, touch=True)
    page.locator("#compare").scroll_into_view_if_needed()
    box = page.locator("#compare").bounding_box()
    assert box is not None
    swipe(page, *((box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ((0.5, 0.5), to)))
    expect(page.get_by_role("slider")).to_have_value(value)


@pytest.mark.parametrize("width", [320, 390])
def test_choices_stand_beside_each_other_and_are_large_enough_for_a_finger(open_page: OpenPage, width: int) -> None:
    page = open_page(size=(width, 800), touch=True)
    for group in ("style", "max_side", "format", "faces"):
        boxes = [choice.bounding_box() for choice in page.locator(f".choice:has([name={group}])").all()]
        assert len({box["y"] for box in boxes if box}) == 1
        assert min(box["height"] for box in boxes if box) >= 44


def test_enter_opens_the_chooser(page: Page) -> None:
    page.on("filechooser", lambda _: None)
    chooser = page.locator("#photo")
    expect(chooser).to_have_accessible_name("Choose photos")
    chooser.focus()
    with page.expect_file_chooser():
        page.keyboard.press("Enter")


def test_the_page_can_be_installed_as_an_app(page: Page, service: RunningService) -> None:
    address = page.locator("link[rel=manifest]").get_attribute("href") or ""
    answer = httpx.get(service.url + address)
    assert answer.headers["Content-Type"].startswith("application/manifest+json")
    for icon in answer.json()["icons"]:
        image = httpx.get(f"{service.url}/static/{icon['src']}")
        if icon["type"] == "image/png":
            width, height = Image.open(io.BytesIO(image.content)).size
            assert icon["sizes"] == f"{width}x{height}"
    problems = page.context.new_cdp_session(page).send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [problem["errorId"] for problem in problems if problem["errorId"] != "in-incognito"] == []


def test_a_phone_offers_its_camera(open_page: OpenPage) -> None:
    expect(open_page(size=PHONE, touch=True).get_by_text("Take a photo")).to_be_visible()
    expect(open_page().get_by_text("Take a photo")).to_be_hidden()


def test_transparency_is_kept_in_the_format_that_the_note_names(page: Page, photos_dir: Path) -> None:
    photo = photos_dir / "odd_rgba_transparent.png"
    choose(page, payload(photo.read_bytes(), photo.name, "image/png"))
    expect_picture(page)
    expect(story(page)).to_contain_text("Choose png or webp to keep it")
    page.get_by_role("radio", name="PNG").check()
    expect(story(page)).not_to_contain_text("transparency", timeout=WAIT_MS)
    expect_picture(page)
    with Image.open(save(page).path()) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGBA")


def test_a_picture_is_saved_under_the_name_of_its_photo(page: Page) -> None:
    choose(page, payload(scene(seed=27), "holiday.at.sea.jpeg"))
    expect_picture(page)
    expect(page.get_by_role("link", name="Save picture")).to_have_attribute("download", re.compile("holiday"))
    assert save(page).suggested_filename == "holiday.at.sea-hinata-light.jpg"


def test_a_picture_as_large_as_its_photo_is_called_so(page: Page) -> None:
    page.get_by_role("radio", name="1024").check()
    choose(page, payload(scene(seed=28)))
    expect_picture(page)
    expect(story(page)).to_contain_text(re.compile("640 . 427 pixels, same size as the photo"))


@pytest.mark.parametrize("size", [(1280, 800), PHONE], ids=["desktop", "phone"])
def test_the_options_stand_above_the_chooser_without_scrolling(open_page: OpenPage, size: tuple[int, int]) -> None:
    page = open_page(size=size, touch=size == PHONE)
    place = way_in(page).bounding_box()
    assert place is not None
    assert place["y"] + place["height"] < size[1], "without scrolling"
    for name in ("style", "max_side", "format", "faces"):
        choice = page.locator(f"input[name={name}]:checked").bounding_box()
        assert choice is not None
        assert choice["y"] + choice["height"] < place["y"]


def test_touch_screens_are_not_told_to_drop_or_paste(open_page: OpenPage) -> None:
    page = open_page(size=PHONE, touch=True)
    expect(way_in(page)).to_be_visible()
    assert re.search("drop|paste", page.locator("#workbench").inner_text(), re.IGNORECASE) is None


def test_a_style_is_described_in_plain_words(page: Page) -> None:
    styles = page.get_by_role("group", name="Style")
    expect(styles).to_have_text(re.compile(r"Style\s+Hinata\s+Yoi\s+Sumi\s+A luminous day: .*\.\s*$"))
    expect(styles.locator("label").first).to_have_attribute("title", re.compile("Licence.*MIT"))


def test_the_line_moves_by_keyboard(page: Page) -> None:
    choose(page, payload(scene(seed=11)))
    expect_picture(page)
    line = page.get_by_role("slider")
    expect(line).to_have_value("50")
    line.focus()
    page.keyboard.press("ArrowRight")
    expect(line).to_have_value("51")
    page.keyboard.press("Home")
    expect(line).to_have_value("0")
    expect(line).to_have_attribute("aria-valuetext", "0% photo, 100% anime")
    expect(page.locator("#compare")).to_have_css("--split", "0")


def test_the_line_follows_the_pointer(page: Page) -> None:
    choose(page, payload(scene(seed=12)))
    expect_picture(page)
    box = page.locator("#compare").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 3)
    page.mouse.up()
    expect(page.get_by_role("slider")).to_have_value("25")


def test_the_page_polls_where_events_fail(page: Page) -> None:
    page.route("**/events", lambda route: route.abort())
    choose(page, payload(scene(seed=13)))
    expect_picture(page)


def test_the_page_waits_for_a_service_that_is_down(browser: Browser, tmp_path: Path) -> None:
    service = RunningService(tmp_path)
    service.start()
    try:
        with browser.new_context(base_url=service.url) as context:
            page = context.new_page()
            page.goto("/")
            service.hold()
            choose(page, payload(held_photo(), "held.png", "image/png"))
            expect_under_way(page)
            service.stop()
            expect(page.get_by_role("heading", name="The service is not responding")).to_be_visible(timeout=WAIT_MS)
            expect(story(page)).to_contain_text("Reconnecting")
            service.start()
            expect_picture(page)
    finally:
        service.stop()


def test_a_connection_that_is_lost_while_a_photo_waits_is_noticed(page: Page, busy: Callable[[], None]) -> None:
    with page.expect_response("**/events"):  # an open stream keeps receiving while the browser is offline
        choose(page, payload(scene(seed=26)))
    page.context.set_offline(True)
    expect(page.get_by_role("heading", name="The service is not responding")).to_be_visible(timeout=WAIT_MS)
    page.context.set_offline(False)
    busy()
    expect_picture(page)


def test_a_photo_is_sent_when_the_connection_is_back(page: Page) -> None:
    page.context.set_offline(True)
    choose(page, payload(scene(seed=14)))
    expect(page.get_by_role("heading", name="The service is not responding")).to_be_visible()
    page.context.set_offline(False)
    expect_picture(page)


def test_an_upload_that_was_lost_on_the_way_back_is_not_drawn_twice(page: Page) -> None:
    sent: list[str] = []

    def lose_the_answer(route: Route) -> None:
        sent.append(route.fetch().json()["id"])
        if len(sent) == 1:
            route.abort()
        else:
            route.continue_()

    page.route("**/api/v1/jobs", lose_the_answer)
    choose(page, payload(scene(seed=36)))
    expect_picture(page)
    assert set(sent) == {page.url.partition("#job=")[2]}


def test_a_photo_the_browser_cannot_show_still_becomes_a_picture(page: Page) -> None:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.open(io.BytesIO(scene(seed=15)))).save(buffer)
    choose(page, payload(buffer.getvalue(), "phone.heic", "image/heic"))
    expect_picture(page)
    expect(page.locator("#workbench").get_by_alt_text("Before: the photo")).to_be_hidden()
    expect(page.get_by_role("slider")).to_be_hidden()


def test_going_back_leads_to_the_start_and_forward_to_the_picture(page: Page) -> None:
    choose(page, payload(scene(seed=16)))
    expect_picture(page)
    page.go_back()
    expect(way_in(page)).to_be_visible()
    page.go_forward()
    expect_picture(page)


def test_a_photo_that_never_becomes_a_picture_is_not_among_the_recent_ones(page: Page) -> None:
    choose(page, payload(scene(seed=40)))
    expect_picture(page)
    broken = scene(seed=41)
    hand_over(page, "drop", payload(broken[: len(broken) // 3], "broken.jpg"))
    expect(story(page)).to_have_text("broken.jpg")
    expect(page.get_by_role("alert")).to_be_visible()
    page.goto("/")
    expect(page.locator("#earlier-list")).to_contain_text("holiday.jpg")
    expect(page.locator("#earlier-list")).not_to_contain_text("broken.jpg")


def test_the_address_does_not_name_the_photo_before_one_that_is_refused(page: Page) -> None:
    choose(page, payload(scene(seed=42)))
    expect_picture(page)
    hand_over(page, "drop", payload(b"Dear diary", "diary.jpg"))
    expect(story(page)).to_have_text("diary.jpg")
    expect(page.get_by_role("alert")).to_be_visible()
    assert "#job=" not in page.url


def test_an_unknown_job_in_the_address_is_explained(open_page: OpenPage) -> None:
    page = open_page("/#job=nobody-knows-it")
    expect(page.get_by_role("alert")).to_contain_text("No such job")
    expect(page.get_by_role("heading", name="Picture not found")).to_be_visible()
    expect(way_in(page)).to_be_visible()


def test_the_headline_is_announced_as_things_change(page: Page) -> None:
    expect(page.get_by_role("status")).to_be_empty()
    choose(page, payload(scene(seed=17)))
    expect(page.get_by_role("status")).to_contain_text("Here it is", timeout=WAIT_MS)


def test_a_photo_can_be_drawn_and_saved_by_keyboard(page: Page) -> None:
    page.on("filechooser", lambda _: None)  # the browser must intercept choosers before the key is pressed
    for _ in ("brand", "API", "language", "style", "size", "format", "faces", "photo"):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "photo"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(payload(scene(seed=18)))
    expect_picture(page)
    assert page.evaluate("document.activeElement.id") == "headline", "the focus is not lost with the file input"
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Save picture")).to_be_focused()


def test_a_preference_for_reduced_motion_is_respected(open_page: OpenPage) -> None:
    for motion in (True, False):
        page = open_page(motion=motion)
        choose(page, payload(scene(seed=19)))
        expect_picture(page)
        assert (page.evaluate("document.getAnimations().length") > 0) == motion


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("colour", ["plum", "plum-deep", "ink", "quiet"])
def test_text_has_sufficient_contrast(open_page: OpenPage, colour: str, *, dark: bool) -> None:
    """WCAG 2.2 AA: 4.5 to 1."""
    page = open_page(dark=dark)
    style = "getComputedStyle(document.documentElement).getPropertyValue(name)"
    text = page.evaluate(f"name => {style}", f"--{colour}")
    for ground in ("blush", "petal", "paper"):
        assert contrast(text, page.evaluate(f"name => {style}", f"--{ground}")) >= 4.5, ground


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (#rrggbb) according to WCAG 2.2."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour.strip().removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    levels = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    red, green, blue = (level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_api_page_shows_every_operation_with_its_curl(open_page: OpenPage, service: RunningService) -> None:
    page = open_page("/docs")
    spec = httpx.get(f"{service.url}/openapi.json").json()
    for path, methods in spec["paths"].items():
        for operation in methods.values():
            section = page.locator(f"#{operation['operationId']}")
            expect(section.get_by_role("heading", name=operation["summary"])).to_be_visible()
            expect(section).to_contain_text(path)
            expect(section.locator("pre")).to_contain_text("curl ")
    one_call = f"curl -F photo=@photo.jpg -H 'Accept: image/*' -o picture.jpg {service.url}/api/v1/jobs"
    expect(page.locator("#create_job pre")).to_have_text(one_call)


def test_every_link_of_the_api_page_leads_somewhere(open_page: OpenPage) -> None:
    page = open_page("/docs")
    links = page.evaluate("[...document.querySelectorAll('a[href^=\"#\"]')].map((link) => link.hash)")
    assert len(links) > 10
    assert [link for link in links if page.locator(f'[id="{link[1:]}"]').count() != 1] == []


def test_a_picture_in_an_s3_store_is_shown_and_saved(
    browser: Browser, s3_environment: dict[str, str], tmp_path: Path
) -> None:
    service = RunningService(tmp_path, environment=s3_environment | {"SAKUGA_STORE_URL": "s3://sakuga-page/pictures"})
    service.start()
    try:
        with browser.new_context(base_url=service.url) as context:
            page = context.new_page()
            context.add_init_script(TELL_CSP_VIOLATIONS)
            complaints: list[str] = []
            page.on("console", lambda message: complaints.append(message.text))
            asked: list[str] = []
            page.on("request", lambda request: asked.append(request.url))
            page.goto("/")
            choose(page, payload(scene()))
            expect_picture(page)
            assert saved_picture(page).size == (640, 427)
            assert save(page).suggested_filename.startswith("sakuga-"), "as the service names it"
            assert any(url.startswith(s3_environment["AWS_ENDPOINT_URL_S3"]) for url in asked)
            assert complaints == []
    finally:
        service.stop()
