"""The buttons of the styles show the chosen photo as each style would draw it; in a real browser."""

import io
import re
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pillow_heif
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Request, Route, expect

from tests.browsing import DESKTOP, PHONE, OpenPage, choose, hand_over, payload, scene
from tests.conftest import RunningService, photo_bytes, wait_until

PREVIEWS = "**/api/v1/previews"
OF_PHOTO, EXAMPLE = re.compile(r"/api/v1/previews/\w+/\w+-light$"), re.compile(r"/api/v1/styles/")


@pytest.fixture(scope="module", autouse=True)
def _all_engines(service: RunningService) -> None:
    """Draw once in every style: on a machine where Sakuga has just been installed, its engines are built first."""

    def are_drawn() -> bool:
        sent = httpx.post(
            f"{service.url}/api/v1/previews", files={"photo": photo_bytes()}, headers={"Prefer": "wait=20"}, timeout=60
        )
        return bool(sent.raise_for_status().json()["previews"])

    wait_until(are_drawn, "the engines of all light styles are built", limit_s=300)


def pictures(page: Page) -> Locator:
    return page.locator(".styles img")


def addresses(page: Page) -> list[str]:
    """Return where the pictures on the buttons come from, once they show the photo."""
    expect(page.locator(".styles.of-photo:not(.waiting)")).to_be_visible()
    return [picture.get_attribute("src") or "" for picture in pictures(page).all()]


def expect_examples(page: Page) -> None:
    expect(page.locator(".styles.of-photo")).to_have_count(0)
    for picture in pictures(page).all():
        expect(picture).to_have_attribute("src", EXAMPLE)


@pytest.mark.parametrize(("size", "touch"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_every_button_shows_the_photo_in_its_style(open_page: OpenPage, size: tuple[int, int], *, touch: bool) -> None:
    page = open_page(size=size, touch=touch)
    expect_examples(page)
    choose(page, payload(scene(seed=70)))
    found = addresses(page)
    styles = [urlsplit(address).path.rpartition("/")[2] for address in found]
    assert styles == [radio.input_value() for radio in page.locator("input[name=style]").all()]
    for picture in pictures(page).all():
        expect(picture).to_be_visible()
        assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [256, 171]
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_another_style_size_or_a_reload_previews_the_photo_no_second_time(page: Page) -> None:
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("/previews") else None)
    choose(page, payload(scene(seed=71)))
    before = addresses(page)
    page.get_by_role("radio", name="Sumi").check()
    page.get_by_role("radio", name="1024").check()
    expect(page.get_by_role("heading", name="Here it is")).to_be_visible()
    assert addresses(page) == before
    assert [request.method for request in sent] == ["POST"]
    page.reload()
    assert addresses(page) != before, "the browser has kept the photo"


def test_a_small_copy_is_sent(page: Page) -> None:
    photo = scene(seed=72, size=(3000, 2000))
    with page.expect_response(PREVIEWS) as sent:
        choose(page, payload(photo))
    info = sent.value.json()["photo"]
    assert (info["width"], info["height"]) == (768, 512)
    assert info["bytes"] < len(photo) / 2
    assert len(addresses(page)) == 3


def test_a_photo_that_the_browser_cannot_read_is_previewed_by_the_service(page: Page) -> None:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.open(io.BytesIO(scene(seed=73)))).save(buffer)
    choose(page, payload(buffer.getvalue(), "phone.heic", "image/heic"))
    assert all(OF_PHOTO.search(address) for address in addresses(page))


def test_another_photo_is_previewed_in_place_of_the_one_before(page: Page) -> None:
    choose(page, payload(scene(seed=74)))
    before = addresses(page)
    hand_over(page, "drop", payload(scene(seed=75, size=(300, 400))))
    expect(page.locator("#story")).to_contain_text(re.compile("300 . 400"))
    expect(pictures(page).first).not_to_have_attribute("src", before[0])
    after = addresses(page)
    assert set(before).isdisjoint(after)
    page.go_back()
    page.go_back()
    expect_examples(page)


@pytest.mark.parametrize("status", [429, 503])
def test_examples_stay_where_previews_are_refused(page: Page, status: int) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(status=429, json={"code": "too_many_requests", "title": "", "detail": "", "status": status})

    page.route(PREVIEWS, refuse)
    with page.expect_response(PREVIEWS):
        choose(page, payload(scene(seed=76)))
    expect(page.get_by_role("heading", name="Here it is")).to_be_visible()
    expect_examples(page)


def test_previews_that_are_no_longer_wanted_are_canceled(
    page: Page, service: RunningService, busy: Callable[[], None]
) -> None:
    with page.expect_response(PREVIEWS) as sent:
        choose(page, payload(scene(seed=77)))
    expect(page.locator(".styles.waiting")).to_be_visible()
    with page.expect_response(lambda response: response.url.endswith(f"{sent.value.json()['id']}/cancel")):
        page.go_back()
    expect_examples(page)
    job = httpx.get(f"{service.url}{sent.value.json()['links']['self']}").json()
    assert job["state"] == "canceled"
    busy()
