"""Settings: read once, with all problems reported together."""

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import Settings, load_settings
from worker.capacity import available_cores, available_memory
from worker.tuning_profile import plan_capacity


def test_the_environment_is_read_and_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_PORT", "9000")
    assert load_settings().port == 9000
    assert load_settings(port=9001).port == 9001
    assert load_settings(port=None).port == 9000


def test_without_a_home_the_cache_is_in_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert load_settings(data_dir=tmp_path).cache_dir == tmp_path / "cache"


def test_all_problems_are_reported_together_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAKUGA_PORT", "70000")
    monkeypatch.setenv("SAKUGA_PROCESSES", "none")
    monkeypatch.setenv("SAKUGA_STYL", "x")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    sentences = refused.value.detail.splitlines()
    assert len(sentences) == 3
    assert "SAKUGA_PROCESSES: must be a whole number" in sentences
    assert "did you mean SAKUGA_STYLE?" in sentences[0]
    assert any("SAKUGA_PORT" in sentence and "65535" in sentence for sentence in sentences)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("REDIS_URL", "memcached://host", "redis_url must be redis://host:port/0"),
        ("STORE_URL", "s3:///prefix", "store_url must be file:/some/folder or s3://bucket/prefix"),
        ("STORE_URL", "https://example.com", "store_url must be file:/some/folder"),
        ("ENGINE", "tensorflow", "must be one of auto, torch"),
        ("MAX_MEGAPIXELS", "171", "SAKUGA_MAX_MEGAPIXELS: must be at most 170"),
    ],
)
def test_a_value_of_the_wrong_type_is_reported_with_the_expected_type(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"SAKUGA_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert said in refused.value.detail


def test_passwords_are_not_shown() -> None:
    shown = repr(Settings(redis_url="redis://:hunter2@host:6379/0"))
    assert "hunter2" not in shown
    assert "host:6379" in shown


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1


def test_a_container_has_the_cores_and_memory_of_its_limits(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{512 << 20}\n")
    assert available_cores(tmp_path) == 1
    assert available_memory(tmp_path) == 512 << 20


def test_without_limits_those_of_the_machine_apply(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cores(tmp_path) == available_cores(tmp_path / "none") >= 1
    assert available_memory(tmp_path) > 512 << 20


def test_processes_and_threads_set_by_the_operator_apply() -> None:
    capacity = plan_capacity(Settings(processes=3, threads=2))
    assert (capacity.processes, capacity.threads) == (3, 2)
