"""`make bench`: everything is measured, counted exactly and reported. No test depends on the speed of the machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import Any

import psutil
import pytest
from PIL import Image

from benchmarks import variants
from benchmarks.pool import Draw, Pool
from benchmarks.queue_cost import counted
from benchmarks.service import Service, network_share, when_due
from shared.engines import EngineName
from shared.errors import EngineError, SakugaError, WeightsError
from shared.redis_connection import redis_client
from shared.settings import Settings
from tests.conftest import ROOT

TORCH = {"SAKUGA_ENGINE": "torch", "SAKUGA_STYLE": "hinata-light"}  # needs no artefact


def bench(tmp_path: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """Run the benchmark of a light style as `make bench` does; return its output file."""
    output = tmp_path / "bench.json"
    options = ("--style", "hinata-light", "--rounds", "1", "-o", str(output))
    command = [sys.executable, "-m", "benchmarks", *options, *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | TORCH | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(output.read_text())
    assert result["machine"]["cpu"]
    assert result["machine"]["commit"]
    assert "hinata-light" in result
    return result


def assert_above_zero(values: dict[str, Any]) -> None:
    numbers = [value for value in values.values() if not isinstance(value, str)]
    assert numbers
    assert min(numbers) > 0


def test_the_cost_of_a_queue_is_measured(tmp_path: Path) -> None:
    cost = bench(tmp_path, "--only", "queue", "--queued", "10")["queue"]["10"]
    assert cost["queued"] == 10
    assert_above_zero(cost)


def test_engines_are_measured_and_one_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "no folder").touch()
    found = bench(
        tmp_path,
        *("--only", "engines", "--engines", "torch", "openvino", "--seconds", "0.1"),
        SAKUGA_CACHE_DIR=str(tmp_path / "no folder"),
    )["hinata-light"]["engines"]
    assert set(found["torch"]) == {"s", "recipe_s", "ratio"}
    assert_above_zero(found["torch"])
    assert found["openvino"].keys() == {"error"}
    assert "SAKUGA_CACHE_DIR" in found["openvino"]["error"]


def test_the_whole_service_is_measured(tmp_path: Path) -> None:
    alone = {"SAKUGA_PROCESSES": "1", "SAKUGA_THREADS": "1"}
    found = bench(tmp_path, "--only", "service", "--seconds", "0.3", **alone)["hinata-light"]["service"]
    assert found["submit"]["count"] > 0
    assert found["poll"]["count"] > 0
    assert_above_zero(found["memory"])
    assert_above_zero({name: value for name, value in found.items() if isinstance(value, float)})


def test_every_stage_is_measured_for_every_size_of_photo(tmp_path: Path) -> None:
    found = bench(tmp_path, "--only", "stages")["hinata-light"]["stages"]
    assert found.pop("engine") == "torch"
    assert [(one["photo"], one["picture"]) for one in found.values()] == [
        ("512 x 512", "512 x 512"),
        ("1024 x 1024", "512 x 512"),
        ("4000 x 3000", "512 x 384"),
    ]
    for one in found.values():
        assert_above_zero(one)
        assert one["network_share"] < 1


def test_a_service_starts_with_an_empty_cache_and_reports_the_network_share() -> None:
    settings = Settings(style="hinata-light", engine=EngineName.TORCH, processes=1, threads=1)
    with Service(settings) as running:
        assert not running.settings.cache_dir.exists()
        assert running.start() > 0
        running.wait_until_prepared(variants.photo(0))
        served = running.convert([variants.photo(number) for number in (1, 2)])
        assert served.pictures_per_s > 0
        assert served.cpu_s > 0
        assert 0 < served.network_share < 1


def test_time_in_the_queue_does_not_count_toward_the_network_share() -> None:
    one = {"queued_s": 90.0, "decode_s": 1.0, "preprocess_s": 0.25, "generate_s": 8.0, "postprocess_s": 0.25}
    assert network_share([one | {"encode_s": 0.5}, one | {"encode_s": 0.5}]) == 0.8


def test_a_slow_request_does_not_delay_the_others() -> None:
    answered = Event()
    requests: list[tuple[float, Callable[[], object]]] = [(0.0, lambda: answered.wait(30)), (0.02, answered.set)]
    assert len(when_due(requests)) == 2
    assert answered.is_set()


def test_photos_differ_though_their_pictures_repeat() -> None:
    one, other = variants.photo(0), variants.photo(variants.VARIETY)
    assert one != other
    with Image.open(BytesIO(one)) as first, Image.open(BytesIO(other)) as second:
        assert first.tobytes() == second.tobytes()


def test_redis_commands_of_the_count_itself_are_not_counted(redis_url: str) -> None:
    with redis_client(Settings(redis_url=redis_url)) as redis:
        for asked in (0, 7):
            with counted(redis, psutil.Process()) as found:
                for _ in range(asked):
                    redis.ping()
            assert found.commands == asked


def unusable(_threads: int) -> Draw:
    raise WeightsError("The weights are damaged.")


def unforeseen(_threads: int) -> Draw:
    raise ValueError("no such thing")


def killed(_threads: int) -> Draw:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def killed_later(_threads: int) -> Draw:
    def draw(number: int) -> None:
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    return draw


@pytest.mark.parametrize(
    ("make", "error", "reason"),
    [
        (unusable, WeightsError, "The weights are damaged."),
        (unforeseen, EngineError, "ValueError: no such thing"),
        (killed, EngineError, "was killed by SIGKILL"),
        (killed_later, EngineError, "was killed by SIGKILL"),
    ],
)
def test_waiting_for_a_process_that_cannot_draw_raises_its_error(
    make: Callable[[int], Draw], error: type[SakugaError], reason: str
) -> None:
    with pytest.raises(error, match=reason), Pool(make, 2, 1) as pool:
        pool.measure(0.1)
