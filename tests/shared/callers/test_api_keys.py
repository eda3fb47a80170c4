"""The file of callers and their keys, and who is served without one."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.keys import create_caller, revoke_keys, rotate_key
from shared.callers.api_keys import ApiKeys, digest_of, new_key, read_keys, require_guarded
from shared.errors import InvalidValueError, SettingsError
from shared.services import Services
from shared.settings import Settings
from tests.callers import BOTH, HOUR
from web.app import create_app


def test_only_digests_are_stored_and_only_the_owner_may_read_them(key_file: Path) -> None:
    key, _ = create_caller(key_file, "alice", BOTH, expires_in=None)
    text = key_file.read_text()
    assert key.startswith("sakuga_")
    assert key.removeprefix("sakuga_")[:8] not in text
    assert digest_of(key) in text
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_file.parent.iterdir()] == [key_file.name]


def test_keys_and_ids_cannot_be_guessed(key_file: Path) -> None:
    keys = {new_key(datetime.now(UTC))[0] for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"sakuga_[A-Za-z0-9_-]{43}", key) for key in keys)
    create_caller(key_file, "alice", BOTH, expires_in=None)
    assert re.fullmatch(r"[0-9a-f]{32}", read_keys(key_file).callers[0].id)


def test_a_rotated_key_is_the_same_caller_and_the_old_one_works_for_a_while(key_file: Path) -> None:
    old, _ = create_caller(key_file, "alice", BOTH, expires_in=None)
    keys = ApiKeys(key_file)
    before = keys.find(old)
    new, _ = rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)
    assert before
    assert {found[0].id for key in (old, new) if (found := keys.find(key))} == {before[0].id}
    newest, _ = rotate_key(key_file, "alice", old_expire_in=timedelta(), expires_in=None)
    assert [keys.find(key) is not None for key in (old, new, newest)] == [False, False, True]


def test_rotation_does_not_extend_a_key_that_expires_soon(key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=HOUR)
    before = read_keys(key_file).callers[0].keys[0].expires_at
    rotate_key(key_file, "alice", old_expire_in=24 * HOUR, expires_in=None)
    assert read_keys(key_file).callers[0].keys[0].expires_at == before


def test_an_expired_key_grants_no_access_and_is_removed_at_the_next_rotation(key_file: Path) -> None:
    key, kept = create_caller(key_file, "alice", BOTH, expires_in=-HOUR)
    assert ApiKeys(key_file).find(key) is None
    rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)
    assert kept not in read_keys(key_file).callers[0].keys


def test_one_key_of_a_caller_or_all_are_revoked(key_file: Path) -> None:
    first, kept = create_caller(key_file, "alice", BOTH, expires_in=None)
    second, _ = rotate_key(key_file, "alice", old_expire_in=HOUR, expires_in=None)
    keys = ApiKeys(key_file)
    assert revoke_keys(key_file, "alice", kept.fingerprint) == 1
    assert [keys.find(key) is not None for key in (first, second)] == [False, True]
    with pytest.raises(InvalidValueError, match="0 keys"):
        revoke_keys(key_file, "alice", kept.fingerprint)
    assert revoke_keys(key_file, "alice", None) == 1
    assert keys.find(second) is None
    assert keys.caller(read_keys(key_file).callers[0].id)


def test_a_change_that_fails_leaves_the_file_as_it_was(key_file: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    before = key_file.read_bytes()
    with pytest.raises(InvalidValueError, match="already"):
        create_caller(key_file, "alice", BOTH, expires_in=None)
    with pytest.raises(InvalidValueError, match="alice"):
        rotate_key(key_file, "bob", old_expire_in=HOUR, expires_in=None)
    assert key_file.read_bytes() == before
    assert [path.name for path in key_file.parent.iterdir()] == [key_file.name]


def test_a_symbolic_link_to_the_file_is_kept(key_file: Path, tmp_path: Path) -> None:
    create_caller(key_file, "alice", BOTH, expires_in=None)
    link = tmp_path / "link.toml"
    link.symlink_to(key_file)
    create_caller(link, "bob", BOTH, expires_in=None)
    assert link.is_symlink()
    assert [caller.name for caller in read_keys(key_file).callers] == ["alice", "bob"]


WRONG = {
    "no TOML": "callers = [",
    "another field": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = []\nadmin = true",
    "an id that can be guessed": "[[callers]]\nname = 'a'\nid = 'a'\nscopes = []",
    "an unknown scope": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = ['all']",
    "one id for two": "".join(f"[[callers]]\nname = '{name}'\nid = 'public'\nscopes = []\n" for name in "ab"),
    "a key, not its digest": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = []\n"
    f"keys = [{{sha256 = 'sakuga_{'x' * 43}', created_at = 2026-01-01T00:00:00Z}}]",
    "a time of no zone": "[[callers]]\nname = 'a'\nid = 'public'\nscopes = []\n"
    f"keys = [{{sha256 = '{'0' * 64}', created_at = 2026-01-01T00:00:00}}]",
}


@pytest.mark.parametrize("case", WRONG)
def test_an_invalid_file_prevents_the_start_and_its_secrets_are_not_shown(
    services: Services, key_file: Path, case: str
) -> None:
    key_file.write_text(WRONG[case])
    with pytest.raises(SettingsError, match=r"keys\.toml") as raised:
        create_app(replace(services, api_keys=ApiKeys(key_file)))
    assert "xxxx" not in raised.value.detail


def test_a_missing_file_prevents_the_start_and_says_how_to_create_it(key_file: Path) -> None:
    with pytest.raises(SettingsError, match="sakuga keys create"):
        require_guarded(Settings(api_keys=key_file))


def test_the_last_valid_file_stays_in_force_and_errors_are_logged_once(
    key_file: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    key, _ = create_caller(key_file, "alice", BOTH, expires_in=None)
    keys = ApiKeys(key_file)
    assert keys.find(key)
    key_file.write_text("callers = [")
    assert keys.find(key)
    assert keys.find(key)
    assert (capsys.readouterr().out + caplog.text).count("last valid version") == 1  # wherever logs go at this point
    key_file.unlink()
    assert keys.find(key)
    create_caller(key_file, "bob", BOTH, expires_in=None)
    assert keys.find(key) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "photos.example"])  # noqa: S104
def test_without_keys_only_this_machine_is_served_unless_asked_for(host: str, key_file: Path) -> None:
    with pytest.raises(SettingsError, match="sakuga keys create") as refused:
        require_guarded(Settings(host=host))
    assert "SAKUGA_ALLOW_ANYONE=true" in refused.value.detail
    require_guarded(Settings(host=host, allow_anyone=True))
    create_caller(key_file, "alice", BOTH, expires_in=None)
    require_guarded(Settings(host=host, api_keys=key_file))
    for own in ("127.0.0.1", "localhost", "::1"):
        require_guarded(Settings(host=own))


@pytest.mark.parametrize("published", ["0.0.0.0", "192.168.1.7", "[::]", "photos.example"])  # noqa: S104
def test_the_published_address_decides_who_is_served_without_keys(published: str) -> None:
    inside = Settings(host="0.0.0.0", published_at="127.0.0.1")  # noqa: S104  of a container
    require_guarded(inside)
    require_guarded(inside.model_copy(update={"published_at": "[::1]"}))
    with pytest.raises(SettingsError, match="SAKUGA_PUBLISHED_AT"):
        require_guarded(inside.model_copy(update={"published_at": published}))
    with pytest.raises(SettingsError, match="SAKUGA_PUBLISHED_AT"):
        require_guarded(Settings(published_at=published))
