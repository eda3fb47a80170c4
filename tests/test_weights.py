"""Weights files: every form that loads, and what is refused."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from shared.errors import WeightsError
from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest
from worker.generator import AnimeGanV2, Upsample
from worker.weights import file_sha256, fill, load_generator, new_generator, read_tensors, recognise

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    torch.manual_seed(7)
    return AnimeGanV2().state_dict()


def as_checkpoint(tensors: Tensors, folder: Path) -> Path:
    torch.save(tensors, folder / "plain.pt")
    return folder / "plain.pt"


def as_wrapped_checkpoint(tensors: Tensors, folder: Path) -> Path:
    torch.save({"state_dict": {f"module.{name}": value for name, value in tensors.items()}}, folder / "wrapped.pt")
    return folder / "wrapped.pt"


def as_safetensors(tensors: Tensors, folder: Path) -> Path:
    save_file(tensors, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def as_torchscript(tensors: Tensors, folder: Path) -> Path:
    generator = AnimeGanV2().eval()
    generator.load_state_dict(tensors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather see another format
        traced = torch.jit.trace(generator, torch.zeros(1, 3, 32, 32))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(folder / "script.pt"))
    return folder / "script.pt"


@pytest.mark.parametrize("form", [as_checkpoint, as_wrapped_checkpoint, as_safetensors, as_torchscript])
def test_every_form_gives_the_same_tensors(
    tensors: Tensors, tmp_path: Path, form: Callable[[Tensors, Path], Path]
) -> None:
    read = read_tensors(form(tensors, tmp_path))
    assert recognise(read) is Size.FULL
    assert all(torch.equal(read[name], value) for name, value in tensors.items())


class Malicious:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path: Path, *, legacy: bool) -> None:
    witness, path = tmp_path / "witness", tmp_path / "evil.pt"
    if legacy:
        path.write_bytes(pickle.dumps({"block_a": Malicious(witness)}, protocol=2))
    else:
        torch.save({"block_a": Malicious(witness)}, path)
    with pytest.raises(WeightsError):
        read_tensors(path)
    assert not witness.exists()


@pytest.mark.parametrize("form", [as_checkpoint, as_safetensors])
def test_a_truncated_file_is_refused(tensors: Tensors, tmp_path: Path, form: Callable[[Tensors, Path], Path]) -> None:
    path = form(tensors, tmp_path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(path)


def test_another_architecture_is_named_as_such() -> None:
    with pytest.raises(WeightsError, match="another architecture"):
        recognise({"conv1.weight": torch.zeros(1)})


def test_a_tensor_of_another_shape_is_named(tensors: Tensors) -> None:
    with pytest.raises(WeightsError, match=r"out_layer\.0\.weight"):
        fill(AnimeGanV2(), tensors | {"out_layer.0.weight": torch.zeros(3, 16, 1, 1)})


def test_numbers_that_are_not_finite_are_refused(tensors: Tensors) -> None:
    with pytest.raises(WeightsError, match="not finite"):
        fill(AnimeGanV2(), tensors | {"block_a.0.2.bias": torch.full((32,), float("nan"))})


def style_of(path: Path, sha256: str) -> Style:
    return Style(name="x", title="X", size=Size.FULL, file=path.name, sha256=sha256, licence="MIT", folder=path.parent)


def test_a_file_that_is_not_the_manifests_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    path = as_safetensors(tensors, tmp_path)
    load_generator(style_of(path, file_sha256(path)))
    with pytest.raises(WeightsError, match="SHA-256") as refused:
        load_generator(style_of(path, "0" * 64))
    assert str(tmp_path) not in refused.value.detail


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        load_generator(style_of(tmp_path / "none.safetensors", "0" * 64))


def test_the_bundled_styles_load_and_are_licence_clean() -> None:
    styles = read_manifest(BUNDLED_WEIGHTS)
    assert "hinata-light" in {style.name for style in styles}
    for style in styles:
        load_generator(style)
        assert style.licence == "MIT"
        assert style.provenance
        assert style.weights_path.stat().st_size < 2.5e6


def test_each_size_has_its_generator() -> None:
    for size in Size:
        assert recognise(new_generator(size, Upsample.HALF_PIXEL).state_dict()) is size
