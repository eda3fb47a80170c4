"""Weights files: every form that loads, and what is refused."""

import os
import pickle
import stat
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from shared.errors import WeightsError
from shared.files import file_sha256
from shared.styles import BUNDLED_WEIGHTS, Size, Style, read_manifest
from tests.worker.onnx_making import write_as_tensorflow
from worker import onnx_graph
from worker.generator import AnimeGanV2, Upsample
from worker.weights import (
    fill,
    load_generator,
    new_generator,
    read_tensors,
    recognise,
    recorded_upsample,
    write_tensors,
)

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


def style_of(path: Path, sha256: str) -> Style:
    return Style(
        name="x",
        title="X",
        size=Size.FULL,
        file=path.name,
        sha256=sha256,
        upsample="align_corners",
        licence="MIT",
        folder=path.parent,
    )


class Scripted(nn.Module):
    """The blocks of AnimeGANv2 with an upsampling that TorchScript can compile, and the attributes of a script."""

    def __init__(self, generator: AnimeGanV2) -> None:
        super().__init__()
        self.block_a, self.block_b, self.block_c = generator.block_a, generator.block_b, generator.block_c
        self.block_d, self.block_e, self.out_layer = generator.block_d, generator.block_e, generator.out_layer
        self.sizes, self.scales, self.title, self.seed = [2, 2], [2.0, 2.0], "paint", 2**40

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        features = self.block_c(self.block_b(self.block_a(photo)))
        features = self.block_d(functional.interpolate(features, scale_factor=self.scales, mode="bilinear"))
        features = self.block_e(functional.interpolate(features, scale_factor=self.scales, mode="bilinear"))
        out: torch.Tensor = self.out_layer(features) + (self.sizes[0] + self.seed) * len(self.title)
        return out


def filled(tensors: Tensors) -> AnimeGanV2:
    generator = AnimeGanV2().eval()
    generator.load_state_dict(tensors)
    return generator


def as_traced(tensors: Tensors, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends another format
        traced = torch.jit.trace(filled(tensors), torch.zeros(1, 3, 32, 32))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(folder / "traced.pt"))
    return folder / "traced.pt"


def as_scripted(tensors: Tensors, folder: Path) -> Path:
    return scripted(Scripted(filled(tensors)), folder / "scripted.pt")


def scripted(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), str(path))
    return path


def loaded_by_torch(path: Path) -> Tensors:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dict(torch.jit.load(str(path)).state_dict())  # type: ignore[no-untyped-call]


def as_onnx_of_tensorflow(tensors: Tensors, folder: Path) -> Path:
    return write_as_tensorflow(tensors, folder / "weights.onnx")


def as_onnx_of_torch(
    tensors: Tensors, folder: Path, upsample: Upsample = Upsample.HALF_PIXEL, *, folded: bool = True
) -> Path:
    generator = AnimeGanV2(upsample).eval()
    generator.load_state_dict(tensors)
    photo = torch.zeros(1, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends another exporter
        torch.onnx.export(
            generator, (photo,), folder / "w.onnx", opset_version=13, do_constant_folding=folded, dynamo=False
        )
    return folder / "w.onnx"


def as_unfolded_onnx(tensors: Tensors, folder: Path) -> Path:
    return as_onnx_of_torch(tensors, folder, folded=False)


ONNX_FORMS = [as_onnx_of_tensorflow, as_onnx_of_torch, as_unfolded_onnx]
FORMS = [as_checkpoint, as_wrapped_checkpoint, as_safetensors, as_traced, as_scripted, *ONNX_FORMS]


@pytest.mark.parametrize("form", FORMS)
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
    with pytest.raises(WeightsError, match="could run code"):
        read_tensors(path)
    assert not witness.exists()


@pytest.mark.parametrize("form", [as_traced, as_scripted])
def test_a_torchscript_gives_the_tensors_that_torch_loads_from_it(
    tensors: Tensors, tmp_path: Path, form: Callable[[Tensors, Path], Path]
) -> None:
    path = form(tensors, tmp_path)
    read, expected = read_tensors(path), loaded_by_torch(path)
    assert set(read) == set(expected)
    for name, value in expected.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


class Sharing(nn.Module):
    """A module under two names, buffers of other types, views of one storage."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Linear(2, 3).half()
        whole = torch.arange(12).reshape(3, 4)
        for name, value in {"whole": whole, "part": whole[1:, ::2].T, "flag": torch.tensor(data=True)}.items():
            self.register_buffer(name, value)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value


def test_shared_modules_views_and_other_types_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    path = scripted(Sharing(), tmp_path / "sharing.pt")
    read, expected = read_tensors(path), loaded_by_torch(path)
    assert {name: value.tolist() for name, value in read.items()} == {
        name: value.tolist() for name, value in expected.items()
    }
    assert {name: value.dtype for name, value in read.items()} == {
        name: value.dtype for name, value in expected.items()
    }


@pytest.mark.parametrize("form", [as_traced, as_scripted])
def test_a_torchscript_fills_the_generator_it_was_made_of(
    tensors: Tensors, tmp_path: Path, form: Callable[[Tensors, Path], Path]
) -> None:
    path, photo = form(tensors, tmp_path), torch.rand(1, 3, 32, 32)
    generator = load_generator(style_of(path, file_sha256(path)))
    assert torch.equal(generator(photo), filled(tensors)(photo))


class Overwriting(nn.Module):
    """Fills a file with the letter E whenever it is unpickled."""

    def __init__(self, victim: Path) -> None:
        super().__init__()
        self.victim, self.written = str(victim), torch.zeros(7, dtype=torch.uint8)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.victim, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.victim, self.training = state
        # stored, so that it is not optimised away; TorchScript has no keyword for `shared`
        self.written = torch.from_file(self.victim, True, 7, dtype=torch.uint8).fill_(69)  # noqa: FBT003

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        return value


def test_a_torchscript_that_runs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"private")
    path = scripted(Overwriting(victim), tmp_path / "evil.pt")
    victim.write_bytes(b"private")
    with pytest.raises(WeightsError, match="refused"):
        read_tensors(path)
    assert victim.read_bytes() == b"private"
    loaded_by_torch(path)
    assert victim.read_bytes() == b"EEEEEEE"  # so the archive does run code


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """Return the archive with every entry passed through `change`."""
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in entries.items():
            new.writestr(name, change(name, content))
    return path


def with_pickle(path: Path, change: Callable[[bytes], bytes]) -> Path:
    return rewritten(path, lambda name, content: change(content) if name.endswith("/data.pkl") else content)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda _: b"\x80\x02cos\nsystem\n.", "more than modules and tensors"),
        (
            lambda pickled: pickled.replace(b"_rebuild_tensor_v2", b"_rebuild_parameter"),
            "more than modules and tensors",
        ),
        (lambda _: b"\x80\x02Nr\xff\xff\xff\x7f.", "torch does not write"),  # a memo of 64 GB
        (lambda _: b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.", "torch does not write"),  # hashed, it ends Python
        (lambda _: b"\x80\x02\x8c\x02os\x8c\x06system\x93.", "torch does not write"),
        (lambda _: b"\x80\x02" + b"]" * (1 << 18) + b".", "too long"),
        (lambda _: b"\x80\x02c__torch__\nM\n)\x81q\x00}X\x01\x00\x00\x00ah\x00sb.", "nested in themselves"),
        (lambda _: b"\x80\x02}.", "need custom code"),
        (lambda pickled: pickled[:-100], "damaged"),
        (lambda _: b"\x80\x02(X\x07\x00\x00\x00storageNNNNtQ.", "damaged"),
    ],
)
def test_a_torchscript_of_anything_but_modules_and_tensors_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], why: str
) -> None:
    path = with_pickle(scripted(nn.Linear(2, 3), tmp_path / "linear.pt"), change)
    with pytest.raises(WeightsError, match=why):
        read_tensors(path)


@pytest.mark.parametrize(
    "sizes", [b"K\x04K\x02\x86", b"K\x03K\x03\x86", b"J\xff\xff\xff\xffK\x02\x86", b"K\x00K\x02\x86"]
)
def test_a_tensor_that_lies_outside_its_bytes_is_refused(tmp_path: Path, sizes: bytes) -> None:
    path = scripted(nn.Linear(2, 3), tmp_path / "linear.pt")
    of_torch = b"(K\x03K\x02t"
    path = with_pickle(path, lambda pickled: pickled.replace(of_torch, sizes))
    with pytest.raises(WeightsError, match="weight lies outside its bytes"):
        read_tensors(path)


def test_a_tensor_whose_bytes_are_too_few_is_refused(tmp_path: Path) -> None:
    path = scripted(nn.Linear(2, 3), tmp_path / "linear.pt")
    rewritten(path, lambda name, content: content[:-4] if name.endswith("/data/0") else content)
    with pytest.raises(WeightsError, match="wrong number of bytes"):
        read_tensors(path)


@pytest.mark.parametrize("form", [as_checkpoint, as_traced])
def test_an_archive_is_not_unpacked_beyond_its_own_size(
    tensors: Tensors, tmp_path: Path, form: Callable[[Tensors, Path], Path]
) -> None:
    path = rewritten(form(tensors, tmp_path), lambda _, content: bytes(len(content)), zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="compressed"):
        read_tensors(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(100)),
        ("README.md", b"# Sakuga\n\nPhotos in, anime pictures out."),
        ("empty.pt", b""),
        ("named.safetensors", b"not what it is called"),
    ],
)
def test_a_file_of_another_kind_is_reported_as_no_weights(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="is not a weights file") as refused:
        read_tensors(tmp_path / name)
    assert "could run code" not in refused.value.detail


def test_an_archive_of_another_kind_is_not_weights_either(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "book.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("chapter.txt", "Once upon a time")
    with pytest.raises(WeightsError, match="is not a weights file"):
        read_tensors(tmp_path / "book.zip")


def test_weights_from_the_onnx_of_tensorflow_draw_what_it_draws(tensors: Tensors, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path, photo = as_onnx_of_tensorflow(tensors, tmp_path), torch.rand(1, 3, 32, 48) * 2 - 1
    upsample = recorded_upsample(path)
    assert upsample is Upsample.ASYMMETRIC
    generator = new_generator(Size.FULL, upsample).eval()
    fill(generator, read_tensors(path))
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"photo": photo.numpy()})
    with torch.no_grad():
        assert np.abs(generator(photo).numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("upsample", [Upsample.ALIGN_CORNERS, Upsample.HALF_PIXEL])
def test_an_onnx_tells_how_its_weights_upsample(tensors: Tensors, tmp_path: Path, upsample: Upsample) -> None:
    assert recorded_upsample(as_onnx_of_torch(tensors, tmp_path, upsample)) is upsample


def test_other_files_do_not_tell_how_their_weights_upsample(tensors: Tensors, tmp_path: Path) -> None:
    assert recorded_upsample(as_checkpoint(tensors, tmp_path)) is None


def changed(path: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def without_a_scale(model: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    model.graph.node.remove(
        next(node for node in model.graph.node if node.op_type == "Mul" and node.input[1] in constants)
    )


def with_one_more(model: onnx.ModelProto) -> None:
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    model.graph.node.append(convolutions[-1])


def with_a_kernel_that_is_computed(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Conv").input[1] = "photo"


def with_kernels_of_itself(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Conv").input[1] = "loop"
    model.graph.node.append(onnx.helper.make_node("Identity", ["loop"], ["loop"]))


def with_tensors_elsewhere(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../private")


def with_too_few_bytes(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].raw_data = b"1234"


def with_numbers_that_are_not_finite(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(np.full(tuple(tensor.dims), np.nan, np.float32), tensor.name))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_a_scale, "another architecture"),
        (with_one_more, "another architecture"),
        (with_a_kernel_that_is_computed, "another architecture"),
        (with_kernels_of_itself, "damaged"),
        (with_tensors_elsewhere, "in another file"),
        (with_too_few_bytes, "damaged"),
        (with_numbers_that_are_not_finite, "not finite"),
    ],
)
def test_an_onnx_of_anything_else_is_refused(
    tensors: Tensors, tmp_path: Path, change: Callable[[onnx.ModelProto], object], why: str
) -> None:
    path = changed(as_onnx_of_tensorflow(tensors, tmp_path), change)
    with pytest.raises(WeightsError, match=why):
        fill(AnimeGanV2(), read_tensors(path))


@pytest.mark.parametrize("limit", ["_MAX_BYTES", "_MAX_NODES"])
def test_an_onnx_that_is_far_too_large_is_refused(
    tensors: Tensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    path = as_onnx_of_tensorflow(tensors, tmp_path)
    monkeypatch.setattr(onnx_graph, limit, 100)
    with pytest.raises(WeightsError, match="another architecture"):
        read_tensors(path)


def test_safetensors_are_recognised_by_their_content(tensors: Tensors, tmp_path: Path) -> None:
    path = as_safetensors(tensors, tmp_path).rename(tmp_path / "renamed.bin")
    assert recognise(read_tensors(path)) is Size.FULL


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_written_weights_have_the_permissions_of_the_umask(
    tensors: Tensors, tmp_path: Path, umask: int, mode: int
) -> None:
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "w.safetensors", tensors)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == mode
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_tensors_that_share_their_bytes_are_written(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    write_tensors(tmp_path / "w.safetensors", {"whole": whole, "again": whole, "part": whole[::2]})
    assert read_tensors(tmp_path / "w.safetensors")["part"].tolist() == [0, 2, 4]


@pytest.mark.parametrize("form", [as_checkpoint, as_safetensors, as_traced, as_onnx_of_tensorflow])
def test_a_truncated_file_is_refused(tensors: Tensors, tmp_path: Path, form: Callable[[Tensors, Path], Path]) -> None:
    path = form(tensors, tmp_path)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="damaged"):
        read_tensors(path)


def test_weights_of_another_architecture_are_reported_as_such() -> None:
    with pytest.raises(WeightsError, match="another architecture"):
        recognise({"conv1.weight": torch.zeros(1)})


def test_a_tensor_of_another_shape_is_named(tensors: Tensors) -> None:
    with pytest.raises(WeightsError, match=r"out_layer\.0\.weight"):
        fill(AnimeGanV2(), tensors | {"out_layer.0.weight": torch.zeros(3, 16, 1, 1)})


def test_numbers_that_are_not_finite_are_refused(tensors: Tensors) -> None:
    with pytest.raises(WeightsError, match="not finite"):
        fill(AnimeGanV2(), tensors | {"block_a.0.2.bias": torch.full((32,), float("nan"))})


def test_a_file_whose_digest_is_not_that_of_the_manifest_is_refused(tensors: Tensors, tmp_path: Path) -> None:
    path = as_safetensors(tensors, tmp_path)
    load_generator(style_of(path, file_sha256(path)))
    with pytest.raises(WeightsError, match="SHA-256") as refused:
        load_generator(style_of(path, "0" * 64))
    assert str(tmp_path) not in refused.value.detail


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="missing"):
        load_generator(style_of(tmp_path / "none.safetensors", "0" * 64))


def test_the_bundled_styles_load_and_are_licence_clean() -> None:
    styles = read_manifest(BUNDLED_WEIGHTS)
    assert "hinata-light" in {style.name for style in styles}
    for style in styles:
        load_generator(style)
        assert style.licence == "MIT"
        assert style.provenance
        assert style.description
        assert style.weights_path.stat().st_size < {Size.LIGHT: 7.2e6, Size.FULL: 8.7e6}[style.size]


def test_each_size_has_its_generator() -> None:
    for size in Size:
        assert recognise(new_generator(size, Upsample.HALF_PIXEL).state_dict()) is size
