"""What a node has."""

from pathlib import Path

import pytest

from worker.capacity import available_cores, available_memory


class TestCapacity:
    """On made-up copies of what Linux tells; `own` stands for /proc/self/cgroup."""

    @staticmethod
    def tell(path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
        return path

    @pytest.fixture(autouse=True)
    def _many_cores(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)

    @pytest.mark.parametrize(
        ("quota", "cores"),
        [("max", 64), ("6400000", 64), ("9900000", 64), ("399999", 3), ("150000", 1), ("100000", 1), ("20000", 1)],
    )
    def test_a_quota_is_rounded_down_to_whole_cores_and_one_at_least(
        self, tmp_path: Path, quota: str, cores: int
    ) -> None:
        self.tell(tmp_path / "cpu.max", f"{quota} 100000")
        assert available_cores(tmp_path) == cores
        self.tell(tmp_path / "one" / "cpu" / "cpu.cfs_quota_us", "-1" if quota == "max" else quota)
        self.tell(tmp_path / "one" / "cpu" / "cpu.cfs_period_us", "100000")
        assert available_cores(tmp_path / "one") == cores

    def test_the_least_limit_of_a_group_and_those_above_it_holds(self, tmp_path: Path) -> None:
        own = self.tell(tmp_path / "own", "0::/slice/service")
        service = tmp_path / "slice" / "service"
        self.tell(service / "cpu.max", "800000 100000")
        self.tell(service / "memory.max", "max")
        assert available_cores(tmp_path, own) == 8
        self.tell(service.parent / "cpu.max", "300000 100000")
        self.tell(service.parent / "memory.max", str(512 << 20))
        assert (available_cores(tmp_path, own), available_memory(tmp_path, own)) == (3, 512 << 20)
        self.tell(tmp_path / "other" / "memory.max", "1000")
        assert available_memory(tmp_path, own) == 512 << 20

    def test_version_1_has_a_tree_for_each_controller(self, tmp_path: Path) -> None:
        own = self.tell(tmp_path / "own", "5:cpu,cpuacct:/a\n4:memory:/a/b\n1:name=systemd:/c\n0::/")
        self.tell(tmp_path / "cpu" / "a" / "cpu.cfs_quota_us", "250000")
        self.tell(tmp_path / "cpu" / "a" / "cpu.cfs_period_us", "50000")
        self.tell(tmp_path / "memory" / "a" / "b" / "memory.limit_in_bytes", str((1 << 63) - 4096))
        assert available_cores(tmp_path, own) == 5
        assert available_memory(tmp_path, own) == available_memory(tmp_path / "none")
        self.tell(tmp_path / "memory" / "a" / "memory.limit_in_bytes", str(256 << 20))
        assert available_memory(tmp_path, own) == 256 << 20

    def test_a_container_that_sees_only_its_own_group_has_its_limits(self, tmp_path: Path) -> None:
        own = self.tell(tmp_path / "own", "4:memory:/docker/0123\n3:cpu,cpuacct:/docker/0123")
        self.tell(tmp_path / "memory" / "memory.limit_in_bytes", str(256 << 20))
        assert (available_cores(tmp_path, own), available_memory(tmp_path, own)) == (64, 256 << 20)
