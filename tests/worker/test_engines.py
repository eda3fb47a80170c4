"""One contract for every engine: the picture must not depend on how it is computed."""

import math
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest
import skimage.data
from PIL import Image
from skimage.metrics import structural_similarity

from shared import pipeline
from shared.conversion import Options
from shared.drawing import Engine, ProgressCallback, Tensor, no_faces
from shared.engines import EngineName
from shared.errors import (
    CanceledError,
    EngineError,
    InvalidValueError,
    PictureTooLargeError,
    UnavailableError,
    WeightsError,
)
from shared.photos.decoding import Rgb
from shared.photos.formats import Format, Limits
from shared.settings import Settings
from shared.styles import BUNDLED_WEIGHTS, Size, Style
from tests.conftest import AMPLE_MEMORY, ROOT, STYLES, ToyEngine
from worker import model_loader
from worker.capacity import ISA_LIMITS, cpu_flags
from worker.engines import base, openvino_model, probe, quantise
from worker.engines.artefacts import Artefacts, open_artefact
from worker.engines.base import DrawingEngine
from worker.engines.build import build
from worker.engines.int8 import Int8Recipe, read_recipe, recipe_path, usable_recipe, write_recipe
from worker.engines.openvino_engine import OpenVinoEngine
from worker.engines.openvino_model import compiled, convert
from worker.engines.openvino_model import quantise as quantise_model
from worker.engines.probe import MIN_PSNR_DB, draw, psnr_db
from worker.engines.torch_engine import TorchEngine
from worker.model_loader import loader_for
from worker.subprocess_call import call_in_subprocess
from worker.tuning_profile import candidates
from worker.weights import load_generator

LIGHT_STYLES = [style for style in STYLES.values() if style.size is Size.LIGHT]
SINGLE_PRECISION = {EngineName.TORCH, EngineName.ONNXRUNTIME, EngineName.OPENVINO}
NEEDS = {  # instruction sets, any of which supports a precision natively; on other CPUs it may be refused
    EngineName.OPENVINO_F16: {"avx512_fp16", "asimdhp"},
    EngineName.OPENVINO_BF16: {"avx512_bf16", "amx_bf16", "bf16"},
    EngineName.OPENVINO_INT8_BF16: {"avx512_bf16", "amx_bf16", "bf16"},
}

# Draws with engines by name, in a process of its own, because runtimes read the limit when they are loaded.
RESTRICTED = """
from pathlib import Path
from shared.errors import EngineError
from shared.settings import Settings
from tests.conftest import STYLES
from tests.worker.test_engines import photo
from worker.engines.probe import draw, psnr_db
from worker.model_loader import loader_for

def drawn(name):
    settings = Settings(engine=name, cache_dir=Path(CACHE))
    return draw(loader_for(settings, STYLES, threads=1, memory=8 << 30).engine("hinata-light"), photo(96, 128))

if __name__ == "__main__":
    reference = drawn("torch")
    for name in ("openvino", "openvino-int8", "openvino-bf16", "auto"):
        try:
            print(name, psnr_db(drawn(name), reference))
        except EngineError:
            print(name, "refused")
"""


Drawn = TypeVar("Drawn", Rgb, Tensor)


class OpenedEngines:
    """The engines, each opened once because that takes a while, and the reference's drawings."""

    def __init__(self) -> None:
        self._opened: dict[tuple[EngineName, str, int], DrawingEngine | str] = {}
        self._expected: dict[tuple[str, object], Any] = {}

    def get(self, name: EngineName, style: str, memory: int = AMPLE_MEMORY) -> DrawingEngine:
        key = (name, style, memory)
        if key not in self._opened:
            self._opened[key] = self._open(name, style, memory)
        found = self._opened[key]
        if isinstance(found, str):
            pytest.skip(found)
        return found

    def expected(self, style: str, subject: object, draw_by: Callable[[DrawingEngine], Drawn]) -> Drawn:
        """Return the reference's drawing of a subject, made once for all engines compared with it."""
        key = (style, subject)
        if key not in self._expected:
            self._expected[key] = draw_by(self.get(EngineName.TORCH, style))
        picture: Drawn = self._expected[key]
        return picture

    def _open(self, name: EngineName, style: str, memory: int) -> DrawingEngine | str:
        """Return an engine, or the reason why this CPU may lack it."""
        try:
            return loader_for(Settings(engine=name), STYLES, threads=1, memory=memory).engine(style)
        except EngineError as error:
            if name in NEEDS and (is_restricted() or not NEEDS[name] & set(cpu_flags().split())):
                return error.detail
            raise


@pytest.fixture(scope="session")
def engines() -> OpenedEngines:
    return OpenedEngines()


def is_restricted() -> bool:
    return any(limit in os.environ for limit in ISA_LIMITS)


def photo(height: int, width: int) -> Rgb:
    with Image.open(probe.PHOTO) as image:
        return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))


def known_photo(name: str, width: int, height: int) -> Rgb:
    """A photo of scikit-image."""
    image = Image.fromarray(getattr(skimage.data, name)())
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def memory_for_strips(engine: DrawingEngine, picture: Tensor, rows: int) -> int:
    """Return the memory, in bytes, with which an engine draws a picture in strips of this many rows."""
    height, width = picture.shape[2:]
    halo = base.GEOMETRY[Size.LIGHT].halo
    assert halo is not None
    drawing = engine.activation_bytes * width * (rows + 2 * halo + 1)
    return int(engine.resident_bytes + base.PICTURE_BYTES * height * width + drawing)


def photo_tensor(height: int, width: int) -> Tensor:
    tensor, _ = pipeline.preprocess(photo(height, width), ToyEngine())
    return tensor


@pytest.mark.parametrize("style", ["hinata-light", "hinata-full"])
@pytest.mark.parametrize("name", EngineName)
class TestContract:
    @pytest.mark.parametrize("subject", ["astronaut", "coffee", "rocket"])
    def test_photos_that_it_was_not_calibrated_on_look_the_same(
        self, engines: OpenedEngines, name: EngineName, style: str, subject: str
    ) -> None:
        image = known_photo(subject, 384, 288)
        found = draw(engines.get(name, style), image)
        expected = engines.expected(style, subject, lambda reference: draw(reference, image))
        assert psnr_db(found, expected) >= max(MIN_PSNR_DB[name], 35)
        assert structural_similarity(found, expected, channel_axis=2) >= 0.98  # type: ignore[no-untyped-call]

    @pytest.mark.parametrize("size", [(64, 64), (96, 288), (256, 224)])
    def test_the_picture_is_that_of_the_reference(
        self, engines: OpenedEngines, name: EngineName, style: str, size: tuple[int, int]
    ) -> None:
        tensor = photo_tensor(*size)
        found = engines.get(name, style).generate(tensor)
        expected = engines.expected(style, size, lambda reference: reference.generate(tensor))
        assert found.shape == expected.shape == tensor.shape
        assert found.dtype == np.float32
        levels = (pipeline.postprocess(one, (slice(None), slice(None))) for one in (found, expected))
        assert psnr_db(*levels) >= MIN_PSNR_DB[name]

    @pytest.mark.parametrize("size", [(16, 16), (17, 333), (301, 98)])
    def test_any_size_is_drawn(
        self, engines: OpenedEngines, name: EngineName, style: str, size: tuple[int, int]
    ) -> None:
        buffer = BytesIO()
        Image.fromarray(photo(*size)).save(buffer, "PNG")
        options, limits = Options(512, Format.PNG), Limits(1 << 20, 1)
        picture = pipeline.convert(buffer.getvalue(), options, engines.get(name, style), limits)
        assert (picture.height, picture.width) == size

    def test_a_returned_picture_is_not_reused(self, engines: OpenedEngines, name: EngineName, style: str) -> None:
        engine, tensor = engines.get(name, style), photo_tensor(64, 64)
        first = engine.generate(tensor)
        kept = first.copy()
        engine.generate(-tensor)
        assert np.array_equal(first, kept)

    def test_failures_of_the_runtime_are_translated(self, engines: OpenedEngines, name: EngineName, style: str) -> None:
        engine = engines.get(name, style)
        with pytest.raises(EngineError):
            engine.generate(np.zeros((1, 5, 64, 64), np.float32))
        assert engine.generate(photo_tensor(64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("name", EngineName)
class TestLight:
    def test_a_picture_drawn_in_strips_is_the_picture_drawn_whole(
        self, engines: OpenedEngines, name: EngineName
    ) -> None:
        tensor = photo_tensor(1408, 32)
        plenty = engines.get(name, "hinata-light")
        little = engines.get(name, "hinata-light", memory_for_strips(plenty, tensor, 96))
        reported: list[float] = []
        strips = little.generate(tensor, reported.append)
        assert reported[-1] > 0.9  # of the last strip
        levels = (pipeline.postprocess(one, (slice(None), slice(None))) for one in (strips, plenty.generate(tensor)))
        assert psnr_db(*levels) >= (70 if name in SINGLE_PRECISION else 40)

    def test_it_stops_between_strips_when_told_to(self, engines: OpenedEngines, name: EngineName) -> None:
        tensor = photo_tensor(1408, 32)
        little = engines.get(name, "hinata-light", memory_for_strips(engines.get(name, "hinata-light"), tensor, 96))
        reported: list[float] = []

        def stop(share: float) -> None:
            reported.append(share)
            if share >= 96 / 1408:
                raise CanceledError("enough")

        with pytest.raises(CanceledError):
            little.generate(tensor, stop)
        assert sorted(reported) == reported
        assert reported[-1] < 0.5
        assert little.generate(photo_tensor(64, 64)).shape == (1, 3, 64, 64)

    def test_a_picture_of_which_not_even_a_strip_fits_is_refused(
        self, engines: OpenedEngines, name: EngineName
    ) -> None:
        tensor = photo_tensor(1408, 64)
        little = engines.get(name, "hinata-light", memory_for_strips(engines.get(name, "hinata-light"), tensor, 32))
        with pytest.raises(PictureTooLargeError, match="megapixels in this style; the operator can give"):
            little.generate(tensor)
        assert little.generate(photo_tensor(64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("failure", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("out of memory")])
def test_a_temporary_lack_of_memory_is_reported_as_such(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    engine = TorchEngine(load_generator(STYLES["hinata-light"]), memory=AMPLE_MEMORY)

    def fail(*_: object) -> Tensor:
        raise failure

    monkeypatch.setattr(engine, "_run", fail)
    with pytest.raises(UnavailableError, match="not enough memory"):
        engine.generate(photo_tensor(64, 64))


@pytest.mark.parametrize("name", EngineName)
def test_a_picture_that_memory_can_never_hold_is_refused_before_it_is_drawn(
    engines: OpenedEngines, name: EngineName, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = type(engines.get(name, "hinata-full")).resident_bytes
    engine = engines.get(name, "hinata-full", memory=resident + (32 << 20))
    monkeypatch.setattr(engine, "drawn_at", None)  # at the size of the picture, as imported weights
    assert engine.generate(photo_tensor(64, 64)).shape == (1, 3, 64, 64)
    with pytest.raises(
        PictureTooLargeError, match=r"0\.0\d megapixels in this style; choose a max_side of at most \d+ or"
    ):
        engine.generate(np.zeros((1, 3, 2048, 2048), np.float32))
    with pytest.raises(PictureTooLargeError, match=r"0\.0\d megapixels in this style"):
        engine.require_room((2048, 2048), 16)


def test_a_picture_is_refused_that_memory_can_never_hold_however_small_it_is_drawn() -> None:
    class Resting(DrawingEngine):
        resident_bytes = 100

        def _run(self, photo: Tensor, report: ProgressCallback) -> Tensor:  # noqa: ARG002
            return photo

    engine = Resting(Size.LIGHT, memory=100 + 16 * 1_000_000, activation_bytes=1)
    engine.draw_at(640, no_faces)
    engine.require_room((1000, 1000), 16)
    advice = r"Memory suffices for pictures of up to 1\.00 megapixels; choose a max_side of at most 1154\."
    with pytest.raises(PictureTooLargeError, match=advice):
        engine.require_room((8000, 6000), 16)


@pytest.mark.parametrize("style", LIGHT_STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("size", [(1408, 32), (1760, 64)])
def test_strips_of_the_reference_are_exact(style: Style, size: tuple[int, int]) -> None:
    heights: list[int] = []

    class Watched(TorchEngine):
        def _run(self, photo: Tensor, report: ProgressCallback) -> Tensor:
            heights.append(photo.shape[2])
            return super()._run(photo, report)

    noise = np.random.default_rng(5).uniform(-1, 1, (1, 3, *size)).astype(np.float32)
    engine = TorchEngine(load_generator(style), memory=AMPLE_MEMORY)
    whole = engine.generate(noise)
    strips = Watched(load_generator(style), memory=memory_for_strips(engine, noise, 96)).generate(noise)
    assert len(heights) > 10
    assert max(heights) == 96 + 2 * 512 < size[0]
    assert strips.shape == whole.shape
    assert np.abs(strips - whole).max() < 1e-5


@pytest.mark.parametrize("name", EngineName)
def test_it_stops_within_a_picture_and_continues_with_the_next(
    engines: OpenedEngines, monkeypatch: pytest.MonkeyPatch, name: EngineName
) -> None:
    engine = engines.get(name, "hinata-full")
    monkeypatch.setattr(base, "REPORT_EVERY_S", 0.05)
    shares: list[float] = []

    def stop_at_the_second(share: float) -> None:
        shares.append(share)
        if len(shares) == 2:
            raise CanceledError("enough")

    tensor = photo_tensor(64, 64)
    before = engine.generate(tensor)
    with pytest.raises(CanceledError):
        engine.generate(np.zeros((1, 3, 1024, 1024), np.float32), stop_at_the_second)
    assert len(shares) == 2
    assert 0 <= shares[0] <= shares[1] < 1
    assert np.array_equal(engine.generate(tensor), before)


class TestProbe:
    def test_an_engine_that_draws_something_else_is_refused(self, tmp_path: Path) -> None:
        probe.write_probe(ToyEngine(), tmp_path)
        probe.check(ToyEngine(), EngineName.OPENVINO, tmp_path)

        class Wrong(ToyEngine):
            def generate(self, photo: Tensor, report: ProgressCallback) -> Tensor:
                return -super().generate(photo, report)

        with pytest.raises(EngineError, match="draws wrong pictures"):
            probe.check(Wrong(), EngineName.OPENVINO, tmp_path)

    def test_on_a_cpu_held_back_to_avx2_every_engine_draws_right_or_is_refused(self, tmp_path: Path) -> None:
        script = tmp_path / "held_back.py"
        script.write_text(RESTRICTED.replace("CACHE", repr(str(tmp_path / "cache"))))
        environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        assert float(found["openvino"]) >= 50
        assert found["openvino-int8"] == "refused" or float(found["openvino-int8"]) >= 27
        assert float(found["auto"]) >= 27
        assert found["openvino-bf16"] == "refused" or float(found["openvino-bf16"]) >= 35


class TestArtefacts:
    STYLE, NAME = STYLES["hinata-light"], EngineName.OPENVINO

    @pytest.fixture
    def prepared(self, tmp_path: Path) -> Artefacts:
        """A folder of the test's own with the artefact, which is built once for all tests."""
        place = Artefacts(Settings().cache_dir / "engines").get(self.STYLE, self.NAME)
        shutil.copytree(place, tmp_path / place.name)
        return Artefacts(tmp_path)

    def test_concurrent_requests_share_one_build(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        artefacts, builds = Artefacts(tmp_path), count()

        def counted(function: Callable[..., None], *args: object) -> None:
            next(builds)
            call_in_subprocess(function, *args)

        monkeypatch.setattr("worker.engines.artefacts.call_in_subprocess", counted)
        with ThreadPoolExecutor(4) as pool:
            places = {pool.submit(artefacts.get, self.STYLE, self.NAME) for _ in range(4)}
        (place,) = {future.result() for future in places}
        assert artefacts.get(self.STYLE, self.NAME) == place
        assert next(builds) == 1
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [place.name]

    def test_leftovers_of_a_killed_builder_are_removed(self, tmp_path: Path, prepared: Artefacts) -> None:
        place = prepared.get(self.STYLE, self.NAME)
        shutil.rmtree(place)
        left = tmp_path / f".{place.name}-left"
        left.mkdir()
        (left / "model.bin").write_bytes(b"half")
        assert prepared.get(self.STYLE, self.NAME) == place
        assert not left.exists()

    @pytest.mark.parametrize("name", [EngineName.OPENVINO, EngineName.OPENVINO_INT8])
    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped")
    def test_the_models_file_is_mapped_and_not_read(self, engines: OpenedEngines, name: EngineName) -> None:
        engines.get(name, "hinata-full")
        mapped = {Path(region.path) for region in psutil.Process().memory_maps()}
        assert [
            path for path in mapped if path.name == "model.bin" and path.parent.name.startswith(f"hinata-full-{name}-")
        ]

    def test_an_engine_keeps_working_when_the_cache_is_deleted(self, tmp_path: Path) -> None:
        loader = loader_for(Settings(engine=self.NAME, cache_dir=tmp_path), STYLES, threads=1, memory=AMPLE_MEMORY)
        loader.prepare("hinata-light")  # as a process's parent does
        shutil.rmtree(tmp_path)
        engine = loader.engine("hinata-light")
        tensor = photo_tensor(64, 64)
        before = engine.generate(tensor)
        shutil.rmtree(tmp_path)
        with pytest.raises(EngineError):
            engine.generate(np.zeros((1, 5, 64, 64), np.float32))  # after which it recompiles
        assert np.array_equal(engine.generate(tensor), before)

    @pytest.mark.parametrize("name", [EngineName.OPENVINO, EngineName.ONNXRUNTIME])
    def test_an_artefact_that_cannot_be_opened_is_an_engine_error(self, tmp_path: Path, name: EngineName) -> None:
        (tmp_path / ("model.onnx" if name is EngineName.ONNXRUNTIME else "model.xml")).write_text("no model")
        with pytest.raises(EngineError, match=f"{name} cannot be opened"):
            open_artefact(tmp_path, self.STYLE, name, threads=1, memory=AMPLE_MEMORY)

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # forking is what Celery does
    def test_a_daemonic_process_builds_an_artefact_too(self, tmp_path: Path) -> None:
        """Celery's processes are daemonic, and build an artefact when a photo comes before all styles are prepared."""
        daemon = multiprocessing.get_context("fork").Process(
            target=Artefacts(tmp_path).get, args=(self.STYLE, self.NAME), daemon=True
        )
        daemon.start()
        daemon.join(120)
        assert daemon.exitcode == 0
        assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [
            Artefacts(tmp_path).get(self.STYLE, self.NAME).name
        ]

    def test_an_error_of_a_subprocess_keeps_its_cause(self, tmp_path: Path) -> None:
        (tmp_path / "model.xml").write_text("no model")
        with pytest.raises(EngineError, match="cannot be opened") as raised:
            call_in_subprocess(open_artefact, tmp_path, self.STYLE, self.NAME, threads=1, memory=AMPLE_MEMORY)
        assert "RuntimeError" in str(raised.value.__cause__)

    def test_a_killed_build_may_be_retried(self) -> None:
        with pytest.raises(UnavailableError, match="memory"):
            call_in_subprocess(signal.raise_signal, signal.SIGKILL)

    def test_an_unexpected_build_failure_is_an_engine_error(self, capfd: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(EngineError, match="crashed its process"):
            call_in_subprocess(math.sqrt, -1)
        assert "ValueError" in capfd.readouterr().err
        assert call_in_subprocess(math.sqrt, 4) == 2

    def test_a_style_is_prepared_once_its_artefact_is_there(self, tmp_path: Path, prepared: Artefacts) -> None:
        cache = tmp_path / "cache"
        loader = loader_for(Settings(engine=self.NAME, cache_dir=cache), STYLES, threads=1, memory=AMPLE_MEMORY)
        assert not loader.is_prepared("hinata-light")
        shutil.copytree(
            prepared.get(self.STYLE, self.NAME), cache / "engines" / prepared.get(self.STYLE, self.NAME).name
        )
        assert loader.is_prepared("hinata-light")
        assert not loader.is_prepared("sumi-light")
        drawing_itself = Settings(engine=EngineName.TORCH, cache_dir=cache)
        assert loader_for(drawing_itself, STYLES, threads=1, memory=AMPLE_MEMORY).is_prepared("sumi-light")

    @pytest.mark.parametrize("damage", ["cut short", "changed", "missing"])
    def test_a_damaged_artefact_is_rebuilt(self, prepared: Artefacts, damage: str) -> None:
        model = prepared.get(self.STYLE, self.NAME) / "model.bin"
        whole = model.read_bytes()
        if damage == "missing":
            model.unlink()
        else:
            model.write_bytes(whole[:1000] if damage == "cut short" else bytes([whole[0] ^ 1]) + whole[1:])
        assert (prepared.get(self.STYLE, self.NAME) / "model.bin").read_bytes() == whole

    def test_other_weights_get_another_artefact(self, prepared: Artefacts) -> None:
        first = prepared.get(self.STYLE, self.NAME)
        assert prepared.get(STYLES["sumi-light"].model_copy(update={"name": self.STYLE.name}), self.NAME) != first

    def test_unusable_weights_are_reported_and_nothing_is_kept(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="does not match its manifest"):
            Artefacts(tmp_path).get(self.STYLE.model_copy(update={"sha256": "0" * 64}), self.NAME)
        assert [path for path in tmp_path.iterdir() if path.is_dir()] == []

    def test_torch_draws_where_no_artefact_can_be_stored(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(EngineError, match="SAKUGA_CACHE_DIR"):
            Artefacts(tmp_path / "file").get(self.STYLE, self.NAME)
        loader = loader_for(Settings(cache_dir=tmp_path / "file"), STYLES, threads=1, memory=AMPLE_MEMORY)
        assert loader.prepare(self.STYLE.name) is EngineName.TORCH


class TestInt8:
    @pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
    def test_every_bundled_style_keeps_its_picture_in_8_bit(self, engines: OpenedEngines, style: Style) -> None:
        quality = usable_recipe(style).quality
        assert quality.photos >= 12
        assert quality.ssim >= 0.98
        assert quality.worst_psnr_db >= 30
        image = known_photo("chelsea", 640, 426)  # as large as bundled styles draw
        found = draw(engines.get(EngineName.OPENVINO_INT8, style.name), image)
        expected = draw(TorchEngine(load_generator(style), memory=AMPLE_MEMORY), image)
        assert psnr_db(found, expected) >= 33
        # Of this one photo; of the recipe's photos the mean is 0.98 or more, see above.
        assert structural_similarity(found, expected, channel_axis=2) >= 0.97  # type: ignore[no-untyped-call]

    @pytest.mark.parametrize("name", ["hinata-light", "hinata-full"])
    def test_the_convolutions_of_the_recipe_run_in_8_bit_and_the_others_do_not(self, name: str) -> None:
        recipe = usable_recipe(STYLES[name])
        model = quantise_model(convert(load_generator(STYLES[name])), recipe.ranges)
        model.reshape([1, 3, 128, 128])
        precisions = {}
        for node in compiled(model).get_runtime_model().get_ordered_ops():
            described = {key: value.value for key, value in node.get_rt_info().items()}
            if described.get("layerType") == "Convolution":
                (layer,) = re.findall(r"__module\.([\w.]+)/aten::_convolution", described["originalLayersNames"])[:1]
                precisions[layer] = described["runtimePrecision"]
        assert {layer for layer, precision in precisions.items() if precision in {"i8", "u8"}} == set(recipe.ranges)
        assert precisions.keys() == set(recipe.ranges) | set(recipe.higher_precision)

    def test_a_recipe_of_another_network_is_refused(self, tmp_path: Path) -> None:
        style = STYLES["hinata-light"].model_copy(update={"folder": tmp_path})
        (tmp_path / style.file).write_bytes((BUNDLED_WEIGHTS / style.file).read_bytes())
        recipe = usable_recipe(STYLES["hinata-light"])
        (first, limits), *others = recipe.ranges.items()
        write_recipe(style, recipe.model_copy(update={"ranges": dict(others)}))
        with pytest.raises(WeightsError, match=f"is missing {first}"):
            build(style, EngineName.OPENVINO_INT8, tmp_path)
        write_recipe(style, recipe.model_copy(update={"ranges": recipe.ranges | {"nowhere": limits}}))
        with pytest.raises(WeightsError, match="nowhere"):
            build(style, EngineName.OPENVINO_INT8, tmp_path)

    def test_a_network_with_unrecognised_norms_is_refused_and_not_silently_slow(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(openvino_model, "_NORM", "SomethingElse")
        with pytest.raises(EngineError, match="0 norms"):
            convert(load_generator(STYLES["hinata-full"]))

    def test_a_style_that_would_look_different_is_refused(self, tmp_path: Path) -> None:
        style = STYLES["hinata-light"].model_copy(update={"folder": tmp_path})
        with pytest.raises(WeightsError, match="was not calibrated"):
            usable_recipe(style)
        recipe = usable_recipe(STYLES["hinata-light"])
        poor = recipe.model_copy(update={"quality": recipe.quality.model_copy(update={"ssim": 0.94})})
        write_recipe(style, poor)
        with pytest.raises(WeightsError, match="would visibly change"):
            usable_recipe(style)
        assert EngineName.OPENVINO_INT8 not in candidates(Settings(), style)
        write_recipe(style, recipe)
        assert EngineName.OPENVINO_INT8 in candidates(Settings(), style)

    def test_a_recipe_of_other_weights_is_ignored_and_a_malformed_one_reported(self, tmp_path: Path) -> None:
        style = STYLES["hinata-light"].model_copy(update={"folder": tmp_path, "sha256": "0" * 64})
        write_recipe(style, usable_recipe(STYLES["hinata-light"]))
        assert read_recipe(style) is None
        recipe_path(style).write_text("ranges = 3")
        with pytest.raises(WeightsError, match="malformed"):
            read_recipe(style)

    def test_a_few_outliers_are_clipped_and_many_are_not(self) -> None:
        values = np.random.default_rng(0).normal(0, 1, 100_000).astype(np.float32)
        values[0] = 12
        low, high = quantise.best_range(values, float(values.min()), 12)
        assert low > values.min()
        assert high < 12
        even = np.linspace(-1, 1, 10_000, dtype=np.float32)
        assert quantise.best_range(even, -1, 1) == (-1, 1)

    def test_the_similarity_is_that_of_scikit_image(self) -> None:
        rng = np.random.default_rng(1)
        reference = photo(90, 70)
        picture = (reference + rng.normal(0, 9, reference.shape)).clip(0, 255).astype(np.uint8)
        expected = structural_similarity(reference, picture, channel_axis=2)  # type: ignore[no-untyped-call]
        assert quantise.ssim(picture, reference) == pytest.approx(expected, abs=1e-6)

    def test_calibrating_gives_a_recipe_and_what_it_costs(self, tmp_path: Path) -> None:
        shades = [photo(96, 128), photo(128, 96)[::-1], photo(96, 96)[:, ::-1], photo(128, 128) // 2]
        style = STYLES["sumi-light"]
        recipe = quantise.make_recipe(style, shades)
        assert recipe.photos == recipe.quality.photos == 2
        assert recipe.quality.psnr_db > 30
        if "stem" not in recipe.higher_precision:  # as on a CPU without VNNI
            assert recipe.ranges["stem"] == (-1, 1)
        moved = style.model_copy(update={"folder": tmp_path})
        write_recipe(moved, recipe)
        assert read_recipe(moved) == Int8Recipe.model_validate_json(recipe.model_dump_json())

    @pytest.mark.parametrize("name", sorted(STYLES))
    def test_the_documentation_tells_what_each_bundled_recipe_costs(self, name: str) -> None:
        recipe = read_recipe(STYLES[name])
        assert recipe
        cost = recipe.quality
        kept = ", ".join(f"`{convolution}`" for convolution in recipe.higher_precision) or "none"
        psnr = f"{cost.psnr_db:.1f} dB ({cost.worst_psnr_db:.1f})"
        row = f"| {name} | {psnr} | {cost.ssim:.3f} ({cost.worst_ssim:.3f}) | {kept} |"
        assert row in (ROOT / "docs" / "engines.md").read_text("utf-8")

    def test_the_convolutions_that_cost_most_stay_out_of_8_bit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shades = [photo(96, 96), photo(64, 96), photo(96, 64)[::-1], photo(64, 64)]
        monkeypatch.setattr(quantise, "GOAL_DB", 52.0)
        recipe = quantise.make_recipe(STYLES["hinata-light"], shades)
        assert 0 < len(recipe.higher_precision) < 50
        assert not set(recipe.higher_precision) & set(recipe.ranges)

    def test_too_few_photos_are_refused(self) -> None:
        with pytest.raises(InvalidValueError, match="at least 4"):
            quantise.make_recipe(STYLES["hinata-light"], [photo(64, 64)] * 3)


class TestLoader:
    def test_an_engine_that_draws_wrong_gives_way_to_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In the process that would draw with it: an artefact that was right where it was built may be wrong here."""
        check = probe.check

        def distrust(engine: Engine, name: EngineName, folder: Path) -> None:
            if name.is_quantised:
                raise EngineError("wrong here")
            check(engine, name, folder)

        loader = loader_for(Settings(), STYLES, threads=1, memory=AMPLE_MEMORY)
        assert loader.prepare("hinata-light").is_quantised
        monkeypatch.setattr(probe, "check", distrust)
        engine = loader.engine("hinata-light")
        assert engine.generate(photo_tensor(64, 64)).shape == (1, 3, 64, 64)
        assert loader.prepare("hinata-light") is EngineName.OPENVINO
        assert loader.engine("hinata-light") is engine

    def test_the_last_engine_reports_why_it_cannot_draw(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def distrust(*_: object) -> None:
            raise EngineError("wrong here")

        monkeypatch.setattr(probe, "check", distrust)
        loader = loader_for(Settings(engine=EngineName.OPENVINO), STYLES, threads=1, memory=AMPLE_MEMORY)
        for _ in range(2):
            with pytest.raises(EngineError, match="wrong here"):
                loader.engine("hinata-light")

    def test_an_engine_rests_while_another_style_is_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resting: list[DrawingEngine] = []

        def rest(engine: DrawingEngine) -> None:
            resting.append(engine)

        monkeypatch.setattr(OpenVinoEngine, "rest", rest)
        loader = loader_for(Settings(engine=EngineName.OPENVINO_INT8), STYLES, threads=1, memory=AMPLE_MEMORY)
        first, second = loader.engine("hinata-light"), loader.engine("sumi-light")
        assert resting == [first]
        assert loader.engine("sumi-light") is second
        assert loader.engine("hinata-light") is first
        assert resting == [first, second]


def test_a_style_that_is_replaced_is_loaded_anew_and_a_removed_one_is_gone() -> None:
    styles = dict(STYLES)
    loader = loader_for(Settings(engine=EngineName.TORCH), styles, threads=1, memory=AMPLE_MEMORY)
    first, other = loader.engine("hinata-light"), loader.engine("sumi-light")
    styles["hinata-light"] = styles["yoi-light"].model_copy(update={"name": "hinata-light"})
    second = loader.engine("hinata-light")
    assert second is not first
    assert loader.engine("sumi-light") is other
    del styles["hinata-light"]
    with pytest.raises(KeyError):
        loader.engine("hinata-light")


def test_a_style_that_changes_while_it_is_loaded_is_loaded_as_it_is_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights file is deleted as soon as nothing names it any more."""
    styles, load = dict(STYLES), model_loader._load  # noqa: SLF001

    def lose(style: Style) -> object:
        if style == STYLES["hinata-light"]:
            styles["hinata-light"] = styles["sumi-light"].model_copy(update={"name": "hinata-light"})
            raise WeightsError("The weights file is missing.")
        if style.name == "yoi-light":
            del styles["yoi-light"]
            raise WeightsError("The weights file is missing.")
        return load(style)

    monkeypatch.setattr(model_loader, "_load", lose)
    loader = loader_for(Settings(engine=EngineName.TORCH), styles, threads=1, memory=AMPLE_MEMORY)
    photo = photo_tensor(64, 64)
    drawn = loader.engine("hinata-light").generate(photo)
    assert np.array_equal(drawn, loader.engine("sumi-light").generate(photo))
    with pytest.raises(KeyError):
        loader.engine("yoi-light")


def test_torch_is_not_loaded_where_the_artefact_is_there() -> None:
    code = (
        "import sys\n"
        "from shared.settings import Settings\n"
        "from shared.styles import installed_styles\n"
        "from worker.model_loader import loader_for\n"
        "settings = Settings(engine='openvino-int8')\n"
        "loader = loader_for(settings, installed_styles(settings.data_dir), threads=1, memory=8 << 30)\n"
        "loader.engine('hinata-light')\n"
        "print('torch' in sys.modules)\n"
    )
    loader_for(Settings(engine=EngineName.OPENVINO_INT8), STYLES, threads=1, memory=AMPLE_MEMORY).prepare(
        "hinata-light"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["False"], done.stderr
