"""Helpers for tests in a real browser: pages that must load without errors, photos to send, ways to hand them over."""

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    FilePayload,
    Locator,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

if TYPE_CHECKING:
    from tests.conftest import RunningService

DESKTOP, PHONE = (1280, 900), (390, 844)
WAIT_MS = 60_000
CHROMIUM_ARGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
TELL_CSP_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => console.error("CSP", event.violatedDirective, event.blockedURI))
"""
HAND_OVER = """([event, files]) => {
  const transfer = new DataTransfer();
  for (const { name, type, data } of files)
    transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, { type }));
  document.body.dispatchEvent(event === "paste"
    ? new ClipboardEvent(event, { clipboardData: transfer, bubbles: true, cancelable: true })
    : new DragEvent(event, { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""


expect.set_options(timeout=WAIT_MS)  # a machine busy with other tests is not a failure
OpenPage = Callable[..., Page]


@dataclass
class Visit:
    """The errors of a visit: on the console, of the content policy, requests to other origins, missing files."""

    origin: str
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        page.on("request", self._asked)
        page.on("response", self._answered)

    def _heard(self, message: ConsoleMessage) -> None:
        # Chromium logs every error response of the API, too; `_answered` decides which of them are expected.
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.origin, "blob:", "data:")):
            self.complaints.append(f"foreign request: {request.url}")

    def _answered(self, response: Response) -> None:
        is_refusal = 400 <= response.status < 500 and urlsplit(response.url).path.startswith("/api/")
        if response.status >= 400 and not is_refusal:
            self.complaints.append(f"{response.status} for {response.url}")


@pytest.fixture(scope="session")
def browser(require_chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(require_chromium), args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, service: "RunningService") -> Iterator[OpenPage]:
    """Open a path of the service in a fresh browser profile; fail if the visit has errors.

    Nothing moves by itself without `motion`: while a software renderer draws falling petals, little else is done.
    """
    visit = Visit(service.url.rstrip("/"))
    contexts = []

    def open_(
        path: str = "/",
        *,
        size: tuple[int, int] = DESKTOP,
        touch: bool = False,
        dark: bool = False,
        motion: bool = False,
        locale: str = "en-US",
    ) -> Page:
        width, height = size
        context = browser.new_context(
            base_url=service.url,
            viewport={"width": width, "height": height},
            has_touch=touch,
            is_mobile=touch,
            color_scheme="dark" if dark else "light",
            reduced_motion="no-preference" if motion else "reduce",
            locale=locale,
        )
        contexts.append(context)
        context.set_default_timeout(WAIT_MS)
        context.add_init_script(TELL_CSP_VIOLATIONS)
        page = context.new_page()
        visit.watch(page)
        page.goto(path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert visit.complaints == []


@pytest.fixture
def page(open_page: OpenPage) -> Page:
    return open_page()


@pytest.fixture
def busy(service: "RunningService") -> Iterator[Callable[[], None]]:
    """Keep the workers busy, so that a photo sent now waits; call it to release them."""
    with ExitStack() as stack:
        stack.enter_context(service.busy())
        yield stack.close


def scene(*, seed: int = 1, size: tuple[int, int] = (640, 427), kind: str = "JPEG") -> bytes:
    """A drawn landscape with a sun, hills and houses, different for every seed."""
    buffer = io.BytesIO()
    _draw_scene(np.random.default_rng(seed), size).save(buffer, kind)
    return buffer.getvalue()


def _draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    width, height = size
    sky = np.linspace((90, 150, 235), (250, 225, 205), height)[:, None].repeat(width, axis=1)
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    sun = rng.uniform(0.1, 0.9) * width
    draw.ellipse((sun, height * 0.1, sun + height * 0.2, height * 0.3), fill=(255, 240, 170))
    for shade in (150, 115, 80):
        crest = height * (1 - shade / 330) + np.cumsum(rng.normal(0, height * 0.004, width))
        draw.polygon([(0, height), *zip(range(width), crest, strict=True), (width, height)], fill=(40, shade, 70))
    for x in rng.uniform(0, width * 0.95, 6):
        top, side = height * rng.uniform(0.65, 0.85), width * 0.05
        draw.rectangle((x, top, x + side, top + side), fill=tuple(int(level) for level in rng.integers(80, 240, 3)))
    return image


def payload(photo: bytes, name: str = "holiday.jpg", kind: str = "image/jpeg") -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": photo}


def swipe(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Move a finger across the page, which needs `touch`."""
    session = page.context.new_cdp_session(page)
    way = [[a + step / 8 * (b - a) for a, b in zip(start, end, strict=True)] for step in range(9)]
    for kind, (x, y) in zip(["touchStart", *["touchMove"] * 8], way, strict=True):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def way_in(page: Page) -> Locator:
    return page.get_by_text("Choose photos", exact=True).locator("visible=true")


def choose(page: Page, photo: FilePayload) -> None:
    with page.expect_file_chooser() as chooser:
        way_in(page).click()
    chooser.value.set_files(photo)


def hand_over(page: Page, event: str, *photos: FilePayload) -> None:
    """Hand over files by a drag event or from the clipboard."""
    files = [
        {"name": photo["name"], "type": photo["mimeType"], "data": base64.b64encode(photo["buffer"]).decode()}
        for photo in photos
    ]
    page.evaluate(HAND_OVER, [event, files])
