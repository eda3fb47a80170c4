"""The API page in both languages."""

import html
import re

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import expect

from tests.browsing import PHONE, OpenPage
from tests.conftest import ROOT
from web import languages
from web.chinese_reference import CHINESE_REFERENCE


class Listened(dict[str, str]):
    """Translations that remember which ones were asked for."""

    asked: set[str]

    def get(self, text: str, default: str) -> str:  # type: ignore[override]
        self.asked.add(text)
        return super().get(text, default)


def test_every_text_of_the_api_page_has_a_chinese_translation(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    translations = Listened(CHINESE_REFERENCE)
    translations.asked = set()
    monkeypatch.setattr(languages, "CHINESE_REFERENCE", translations)
    client.get("/docs?lang=zh")
    templates = "".join((ROOT / "web" / "templates" / f"{name}.html").read_text() for name in ("docs", "schema"))
    rarely = set(re.findall(r'_\("([^"]+)"\)', templates))
    assert (translations.asked | rarely) - {""} == set(CHINESE_REFERENCE)


def test_no_english_sentence_is_left_on_the_chinese_api_page(client: FlaskClient) -> None:
    page = re.sub(r"<(code|pre)\b.*?</\1>", "", client.get("/docs?lang=zh").text, flags=re.DOTALL)
    pieces = html.unescape(re.sub(r"<[^>]+>", "\n", page)).splitlines()
    assert [piece for piece in pieces if re.search("[A-Za-z]+ [a-z]+ [a-z]+", piece)] == []


def test_every_translation_keeps_the_code_and_the_numbers_of_its_original() -> None:
    def facts(text: str) -> list[str]:
        return sorted(re.findall(r"`[^`]+`|\{\w+\}|\d+", text))

    assert [text for text, chinese in CHINESE_REFERENCE.items() if facts(text) != facts(chinese)] == []


def test_the_english_api_page_and_the_document_stay_english(client: FlaskClient) -> None:
    for path in ("/docs?lang=en", "/openapi.json"):
        client.get("/docs?lang=zh")  # and the cookie says so
        text = client.get(path).text.replace(languages.LANGUAGES["zh"], "")
        assert re.search(r"[\u4e00-\u9fff]", text) is None


def test_the_api_page_follows_the_browser_until_a_language_is_chosen(client: FlaskClient) -> None:
    english = {"Accept-Language": "en"}
    asked = client.get("/docs", headers={"Accept-Language": "zh-CN"})
    assert asked.headers["Content-Language"] == "zh"
    assert {"Accept-Language", "Cookie"} <= set(asked.vary)
    assert client.get("/docs?lang=zh", headers=english).headers["Content-Language"] == "zh"
    for path in ("/docs", "/"):
        assert client.get(path, headers=english).headers["Content-Language"] == "zh", "as chosen before"


def test_the_language_changes_where_the_reader_is(open_page: OpenPage) -> None:
    page = open_page("/docs#create_album")
    page.get_by_role("link", name="中文").click()
    expect(page.locator("#create_album").get_by_role("heading", level=2)).to_have_text("新建相册")
    assert page.url.endswith("/docs?lang=zh#create_album")
    page.get_by_role("link", name="English").click()
    expect(page.locator("#create_album").get_by_role("heading", level=2)).to_have_text("Create an album")


def test_the_chinese_api_page_fits_on_a_phone(open_page: OpenPage) -> None:
    page = open_page("/docs", size=PHONE, touch=True, locale="zh-CN")
    expect(page.get_by_role("heading", name="API 文档")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
