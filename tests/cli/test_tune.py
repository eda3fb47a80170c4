"""The capacity of a node, its tuning profile, `sakuga tune`, and the preparation of engines."""

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from shared.drawing import Engine
from shared.engines import EngineName
from shared.errors import EngineError, SettingsError
from shared.settings import Settings
from shared.styles import BUNDLED_WEIGHTS, Size, Styles, installed_styles
from tests.conftest import AMPLE_MEMORY, STYLES, ToyEngine, wait_until
from worker import prepare, tuning_profile
from worker.capacity import available_cores, available_memory, cpu_flags
from worker.engines.artefacts import Artefacts
from worker.model_loader import loader_for
from worker.subprocess_call import call_in_subprocess
from worker.tune import Bounds, Layout, Measured, divisions, peak_memory, run_node, tune
from worker.tuning_profile import (
    TuningProfile,
    candidates,
    memory_budget,
    node_key,
    plan_capacity,
    read_profile,
    write_profile,
)


class ToyModels:
    """A stand-in for the loader of a node. With a `mark`, the second process that asks for an engine is killed."""

    def __init__(self, note: Callable[[str], None], memory: int, mark: Path | None) -> None:
        self._note, self._mark = note, mark
        note(f"{memory >> 20} MiB each")

    def preload(self, _name: str) -> None:
        self._note("loaded")

    def engine(self, _name: str) -> Engine:
        if self._mark:
            try:
                self._mark.touch(exist_ok=False)
            except FileExistsError:
                os.kill(os.getpid(), signal.SIGKILL)
        self._note("engine")
        return ToyEngine()


def toy_node(folder: Path, *, one_dies: bool) -> Measured:
    """A node of two processes in 600 MiB, to be run in a subprocess; it writes events in order to the file `events`."""

    def note(event: str) -> None:
        with (folder / "events").open("a") as events:
            events.write(f"{event}\n")

    mark = folder / "mark" if one_dies else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.tune._START_TIMEOUT_S", 100_000)  # it does not end by timeout
        patch.setattr("worker.tune.share_one_arena", lambda: note("one arena"))
        patch.setattr("worker.tune.loader_for", lambda *_, threads, memory: ToyModels(note, memory, mark))  # noqa: ARG005
        layout = Layout(EngineName.TORCH, 2, 1)
        return run_node(Settings(), STYLES["hinata-light"], layout, memory_bytes=600 << 20, seconds=0.1)


class TestCapacity:
    """Uses made-up copies of Linux's files; `own` stands for /proc/self/cgroup."""

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

    def test_the_lowest_limit_of_a_group_and_its_ancestors_applies(self, tmp_path: Path) -> None:
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


class TestChoice:
    PROFILE = TuningProfile(
        node="",
        size=Size.LIGHT,
        asked="auto",
        engine=EngineName.ONNXRUNTIME,
        processes=3,
        threads=2,
        megapixels_per_s=1,
        latency_s=1,
        memory_bytes=100 << 20,
        memory_budget=600 << 20,
    )

    def measured_here(self, **differing: object) -> TuningProfile:
        return self.PROFILE.model_copy(update={"node": node_key(), **differing})

    def test_a_profile_measured_here_applies_and_explicit_settings_win(self, tmp_path: Path) -> None:
        settings, style = Settings(cache_dir=tmp_path), STYLES["hinata-light"]
        assert candidates(settings, style)[0] in {EngineName.OPENVINO_INT8, EngineName.OPENVINO_INT8_BF16}
        write_profile(tmp_path, self.measured_here())
        assert candidates(settings, style)[0] is EngineName.ONNXRUNTIME
        assert (plan_capacity(settings).processes, plan_capacity(settings).threads) == (3, 2)
        set_by_hand = Settings(cache_dir=tmp_path, engine=EngineName.TORCH, processes=1)
        assert candidates(set_by_hand, style) == (EngineName.TORCH,)
        assert plan_capacity(set_by_hand).processes == 1
        assert candidates(settings, STYLES["hinata-full"])[0] is not EngineName.ONNXRUNTIME

    def test_a_profile_of_another_machine_or_version_is_ignored(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_profile(tmp_path, self.measured_here())
        write_profile(tmp_path, self.PROFILE.model_copy(update={"node": "another"}))
        assert len(json.loads((tmp_path / "tuning.json").read_text())) == 2
        assert read_profile(tmp_path, Size.LIGHT) is not None
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
        assert read_profile(tmp_path, Size.LIGHT) is None

    def test_a_damaged_profile_is_ignored_and_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "tuning.json").write_text("{[")
        assert read_profile(tmp_path, Size.LIGHT) is None
        write_profile(tmp_path, self.measured_here())
        assert read_profile(tmp_path, Size.LIGHT) is not None

    def test_workers_are_given_the_memory_that_was_measured_with(self, tmp_path: Path) -> None:
        settings = Settings(cache_dir=tmp_path)
        assert plan_capacity(settings).memory == memory_budget() // plan_capacity(settings).processes
        write_profile(tmp_path, self.measured_here())
        assert plan_capacity(settings).memory == 200 << 20
        assert plan_capacity(Settings(cache_dir=tmp_path, processes=2)).memory == 300 << 20

    def test_a_profile_in_an_earlier_format_is_ignored(self, tmp_path: Path) -> None:
        earlier = self.measured_here().model_dump(mode="json", exclude={"memory_budget"})
        (tmp_path / "tuning.json").write_text(json.dumps([earlier]))
        assert read_profile(tmp_path, Size.LIGHT) is None

    def test_a_profile_of_one_engine_applies_where_that_engine_is_set(self, tmp_path: Path) -> None:
        asked = EngineName.ONNXRUNTIME
        write_profile(tmp_path, self.measured_here(asked=asked))
        assert plan_capacity(Settings(cache_dir=tmp_path, engine=asked)).processes == 3
        assert read_profile(tmp_path, Size.LIGHT) is None
        write_profile(tmp_path, self.measured_here(processes=5))
        assert plan_capacity(Settings(cache_dir=tmp_path)).processes == 5
        assert plan_capacity(Settings(cache_dir=tmp_path, engine=asked)).processes == 3

    def test_a_read_only_folder_is_a_settings_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(SettingsError, match="SAKUGA_CACHE_DIR"):
            write_profile(tmp_path / "file", self.PROFILE)

    @pytest.mark.parametrize(
        ("line", "first"),
        [
            ("flags\t: fpu avx2", ["openvino-int8", "openvino"]),
            ("flags\t: avx2 avx512_bf16", ["openvino-int8-bf16", "openvino-int8", "openvino"]),
            ("flags\t: avx2 amx_bf16", ["openvino-int8-bf16", "openvino-int8", "openvino"]),
            ("Features\t: fp asimd", ["openvino-int8", "openvino"]),
            ("Features\t: asimd asimdhp", ["openvino-int8", "openvino-f16", "openvino"]),
            ("Features\t: asimdhp bf16", ["openvino-int8-bf16", "openvino-int8", "openvino-f16", "openvino"]),
        ],
    )
    def test_half_precision_is_likely_where_the_cpu_has_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, first: list[str]
    ) -> None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{line}\n")
        monkeypatch.setattr(tuning_profile, "cpu_flags", partial(cpu_flags, tmp_path / "cpuinfo"))
        found = candidates(Settings(cache_dir=tmp_path), STYLES["hinata-light"])
        assert [str(name) for name in found[: len(first)]] == first

    def test_an_engine_that_is_not_installed_is_not_tried(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tuning_profile, "_version", lambda package: "1" if package == "torch" else None)
        assert candidates(Settings(), STYLES["hinata-light"]) == (EngineName.TORCH,)
        with pytest.raises(SettingsError, match="onnxruntime is not installed"):
            candidates(Settings(engine=EngineName.ONNXRUNTIME), STYLES["hinata-light"])
        monkeypatch.setattr(tuning_profile, "_version", lambda _: None)
        with pytest.raises(SettingsError, match="No installed engine can draw hinata-light"):
            candidates(Settings(), STYLES["hinata-light"])

    def test_the_first_engine_that_draws_right_is_taken(self, tmp_path: Path) -> None:
        style = STYLES["hinata-light"].model_copy(update={"folder": tmp_path})
        for name in (style.file, "manifest.toml"):
            (tmp_path / name).write_bytes((BUNDLED_WEIGHTS / name).read_bytes())
        assert loader_for(Settings(), {style.name: style}, threads=1, memory=AMPLE_MEMORY).prepare(style.name) is (
            EngineName.OPENVINO
        )


class TestTune:
    def test_the_quickest_within_the_bounds_is_chosen_by_measurement(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        two = {EngineName.OPENVINO, EngineName.ONNXRUNTIME}  # each layout of each engine starts a node
        monkeypatch.setattr("worker.tune.is_possible", lambda engine, _style: engine in two)
        monkeypatch.setattr("worker.tune.available_cores", lambda: 2)
        outcomes: dict[Layout, Measured] = {}
        settings = Settings()

        def tell(layout: Layout, outcome: object) -> None:
            if isinstance(outcome, Measured):
                outcomes[layout] = outcome

        style = installed_styles(tmp_path)["hinata-light"]
        chosen = tune(settings, style, Bounds(60, AMPLE_MEMORY), tell, seconds=0.2)
        best = max(outcomes.values(), key=lambda one: one.pictures_per_s)
        assert (chosen.engine, chosen.processes, chosen.threads) == (
            best.layout.engine, best.layout.processes, best.layout.threads
        )  # fmt: skip
        assert {layout.engine for layout in outcomes} == two
        assert {layout.processes * layout.threads for layout in outcomes} == {1, 2}
        assert all(one.memory_bytes > 10 << 20 for one in outcomes.values())

    def test_layouts_that_keep_the_bounds_come_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        speeds = {"openvino": (9.0, 900 << 20), "onnxruntime": (4.0, 100 << 20), "torch": (1.0, 100 << 20)}

        def pretend(_settings: object, _style: object, layout: Layout, **_: object) -> Measured:
            if layout.engine not in speeds:
                raise EngineError("not here")
            speed, memory = speeds[layout.engine]
            return Measured(layout, speed * layout.processes, layout.processes / 2, memory)

        monkeypatch.setattr("worker.tune.measure", pretend)
        monkeypatch.setattr("worker.tune.available_cores", lambda: 8)
        tried: list[Layout] = []

        def chosen(bounds: Bounds) -> tuple[str, int]:
            found = tune(Settings(), STYLES["hinata-light"], bounds, lambda layout, _: tried.append(layout))
            return found.engine, found.processes

        assert chosen(Bounds(latency_s=99, memory_bytes=100 << 30)) == ("openvino", 8)
        assert chosen(Bounds(latency_s=1.2, memory_bytes=100 << 30)) == ("openvino", 2)
        assert chosen(Bounds(latency_s=99, memory_bytes=500 << 20)) == ("onnxruntime", 1)
        assert chosen(Bounds(latency_s=0.1, memory_bytes=100 << 30)) == ("openvino", 1)
        assert all(layout.processes == 1 for layout in tried if layout.engine is EngineName.TORCH)

    @pytest.mark.parametrize(
        ("cores", "processes"),
        [(1, [1]), (2, [2, 1]), (6, [6, 3, 2, 1]), (7, [7, 1]), (12, [12, 6, 4, 3, 2, 1]), (96, [96, 32, 16, 6, 3, 1])],
    )
    def test_cores_are_divided_so_that_none_is_left_over(self, cores: int, processes: list[int]) -> None:
        assert divisions(cores) == processes

    def test_an_engine_that_is_set_is_the_only_one_measured(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def pretend(_settings: object, _style: object, layout: Layout, **_: object) -> Measured:
            return Measured(layout, 1, 1, 100 << 20)

        monkeypatch.setattr("worker.tune.measure", pretend)
        monkeypatch.setattr("worker.tune.available_cores", lambda: 6)
        tried: set[Layout] = set()
        settings = Settings(engine=EngineName.TORCH)
        chosen = tune(settings, STYLES["hinata-light"], Bounds(10, AMPLE_MEMORY), lambda layout, _: tried.add(layout))
        assert {layout.engine for layout in tried} == {EngineName.TORCH}
        assert {layout.processes * layout.threads for layout in tried} == {1, 6}
        assert (chosen.asked, chosen.memory_budget) == (EngineName.TORCH, AMPLE_MEMORY)

    def test_the_peak_of_memory_is_measured_not_the_final_amount(self, monkeypatch: pytest.MonkeyPatch) -> None:
        taken, seen = [10], set()

        def private_bytes() -> int:
            seen.add(taken[0])
            return taken[0]

        def draw() -> None:
            taken[0] = 900
            wait_until(lambda: 900 in seen, "memory is looked at while a picture is drawn")
            taken[0] = 20

        monkeypatch.setattr("worker.tune.private_bytes", private_bytes)
        assert peak_memory(draw) == 900

    def test_a_layout_is_measured_as_a_node_works(self, tmp_path: Path) -> None:
        measured = call_in_subprocess(toy_node, tmp_path, one_dies=False)
        assert (measured.layout.processes, measured.latency_s > 0) == (2, True)
        events = (tmp_path / "events").read_text().splitlines()
        assert events[:3] == ["one arena", "300 MiB each", "loaded"]
        assert sorted(events[3:]) == ["engine", "engine"]

    def test_a_process_that_is_killed_ends_the_measurement_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match="died during measurement"):
            call_in_subprocess(toy_node, tmp_path, one_dies=True)

    def test_the_lack_of_any_engine_is_reported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> Measured:
            raise EngineError("not here")

        monkeypatch.setattr("worker.tune.measure", refuse)
        with pytest.raises(EngineError, match="No engine can draw hinata-light"):
            tune(Settings(), STYLES["hinata-light"], Bounds(10, AMPLE_MEMORY), lambda *_: None)


class TestPrepare:
    def test_a_style_that_has_been_removed_meanwhile_is_left_out(self, tmp_path: Path) -> None:
        models = loader_for(Settings(cache_dir=tmp_path), Styles(tmp_path), threads=1, memory=0)
        assert prepare.prepare_all(["gone"], models) == ["gone"]

    def test_a_style_that_cannot_be_prepared_does_not_keep_others_from_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        good = STYLES["hinata-light"]
        bad = good.model_copy(update={"name": "bad", "sha256": "0" * 64})
        settings = Settings(engine=EngineName.OPENVINO, cache_dir=tmp_path)
        models = loader_for(settings, {"bad": bad, good.name: good}, threads=1, memory=0)
        assert prepare.prepare_all(["bad", good.name], models) == ["bad"]
        made = Artefacts(tmp_path / "engines").get(good, EngineName.OPENVINO)
        assert [path.name for path in (tmp_path / "engines").iterdir() if path.is_dir()] == [made.name]

        monkeypatch.setenv("SAKUGA_ENGINE", "openvino")
        monkeypatch.setenv("SAKUGA_CACHE_DIR", str(tmp_path))
        monkeypatch.setattr("os.nice", lambda _: 0)
        monkeypatch.setattr("shared.telemetry.configure_logs", lambda _: None)
        for styles, code in (({"bad": bad, good.name: good}, 1), ({good.name: good}, 0)):
            monkeypatch.setattr("shared.styles.installed_styles", lambda _, styles=styles: styles)
            with pytest.raises(SystemExit) as ended:
                prepare.main()
            assert ended.value.code == code
