"""The commands that create, rotate, list and revoke keys."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.main import main
from shared.callers.api_keys import ApiKeys, digest_of


def sakuga_keys(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments])


def test_a_key_is_made_rotated_listed_and_revoked_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_DATA_DIR", str(tmp_path))
    made = sakuga_keys("create", "alice", "--requests-per-minute", "60", "--megapixels-per-day", "5")
    first = made.stdout.strip()
    assert re.fullmatch(r"sakuga_[A-Za-z0-9_-]{43}", first)
    assert f"SAKUGA_API_KEYS={tmp_path / 'keys.toml'}" in made.stderr
    second = sakuga_keys("rotate", "alice").stdout.strip()
    listed = sakuga_keys("list").stdout
    for part in ("alice", "submit and read", "60 requests a minute", "5 megapixels a day", "does not expire"):
        assert part in listed
    assert all(key not in listed and digest_of(key)[:12] in listed for key in (first, second))
    assert sakuga_keys("revoke", "alice", "--key", digest_of(first)[:6]).exit_code == 0
    assert ApiKeys(tmp_path / "keys.toml").find(first) is None
    assert ApiKeys(tmp_path / "keys.toml").find(second)


def test_an_unknown_caller_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_API_KEYS", str(tmp_path / "mine.toml"))
    assert sakuga_keys("create", "alice").exit_code == 0
    refused = sakuga_keys("revoke", "bob")
    assert refused.exit_code == 1
    assert "Unknown caller bob; known: alice." in refused.stderr


@pytest.mark.parametrize(
    "asked",
    [[""], ["two\nlines"], ["a" * 101], ["a", "--megapixels-per-day", "inf"], ["a", "--megapixels-per-day", "nan"]],
)
def test_an_invalid_caller_is_reported_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.setenv("SAKUGA_API_KEYS", str(tmp_path / "mine.toml"))
    refused = sakuga_keys("create", *asked)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: Invalid caller: ")
    assert not (tmp_path / "mine.toml").exists()
