"""Import rules; the map is in docs/architecture.md."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import ROOT

PARTS = ("web", "worker", "shared", "cli", "training", "benchmarks", "deploy", "weights")
ALLOWED = {
    "shared": {"shared"},
    "web": {"web", "shared"},
    "worker": {"worker", "shared"},
    "cli": {"cli", "worker", "shared"},
    "training": {"training", "worker", "shared"},
    "benchmarks": {"benchmarks", "cli", "worker", "shared"},
    "deploy": set(),
    "weights": set(),
}
# The parts of `shared/`; each may import those before it. A package is one part, however it is split.
LAYERS = (
    "errors", "client", "engines", "files", "hosts", "live_files", "redis_clock", "redis_keys", "telemetry",
    "validation", "record_codec", "redis_claims", "settings", "styles", "redis_connection",
    "photos", "conversion", "enlarge", "small_faces", "drawing", "pipeline",
    "storage", "callers", "webhooks",
    "jobs", "scheduling", "albums",
    "services", "usecases",
)  # fmt: skip
LONGEST_MODULE = 300  # lines, in `shared/`, `web/` and `cli/`
LONGEST_FUNCTION = 50  # lines
ENGINES = {"torch", "openvino", "onnxruntime"}
CODECS = {"numpy", "pillow_heif", "PIL._avif", "PIL._webp"}  # and packages that only code handling pixels needs
# Reports the side effects of importing modules under a folder: `python -c WATCH FOLDER MODULE …`. Those of libraries
# are excluded (the nearest frame that runs a module shows whose it is), and so are files that the import system reads,
# and the metadata of packages, in which pydantic looks for plugins when the first model is declared.
WATCH = """
import importlib.metadata, sys
from pathlib import Path

WATCHED = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.system", "subprocess.Popen",
    "socket.connect", "socket.bind", "socket.getaddrinfo", "sqlite3.connect", "signal.signal")
IMPORTING = ("<frozen importlib", str(Path(importlib.metadata.__file__).parent))
folder, *modules = sys.argv[1:]
seen = set()

def module_being_run(frame):
    while frame and frame.f_code.co_name != "<module>":
        if frame.f_code.co_filename.startswith(IMPORTING):
            return ""
        frame = frame.f_back
    return frame.f_code.co_filename if frame else ""

def look(event, arguments):
    if event in WATCHED:
        file = Path(module_being_run(sys._getframe(1)))
        if file.is_relative_to(folder) and not file.is_relative_to(sys.prefix):
            seen.add(f"{file.relative_to(folder)}: {event} {arguments[:1]}")

sys.path.insert(0, folder)
sys.addaudithook(look)
for module in modules:
    importlib.import_module(module)
print(*sorted(seen), sep="\\n")
"""


def modules_of(part: str) -> list[Path]:
    """Return the Python files of a part; what training fetches and writes is not ours."""
    not_ours = [ROOT / "training" / name for name in ("cache", "runs")]
    files = sorted((ROOT / part).rglob("*.py"))
    return [file for file in files if not any(file.is_relative_to(folder) for folder in not_ours)]


def imports_of(part: str) -> Iterator[tuple[str, str]]:
    """Return every (file, imported module) of a part, wherever in the file the import is."""
    for path in modules_of(part):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            yield from ((str(path.relative_to(ROOT)), name) for name in names)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_what_it_may(part: str) -> None:
    ours = set(PARTS) | {"tests"}
    wrong = {pair for pair in imports_of(part) if (top := pair[1].split(".")[0]) in ours and top not in ALLOWED[part]}
    assert wrong == set()


def part_of(module: str) -> str:
    """Return the part of `shared/` that a module is or belongs to."""
    return module.split(".")[1]


def imports_within_shared() -> dict[str, set[str]]:
    """Return the modules of `shared/`, each with the modules of `shared/` that it imports."""
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in (ROOT / "shared").rglob("*.py")}
    found: dict[str, set[str]] = {module: set() for module in modules if not module.endswith("__init__")}
    for module in found:
        for node in ast.walk(ast.parse(modules[module].read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names} & found.keys()
            elif isinstance(node, ast.ImportFrom) and node.module:
                named = {f"{node.module}.{alias.name}" for alias in node.names} & found.keys()
                found[module] |= named or ({node.module} & found.keys())
    return found


def test_the_parts_of_shared_import_only_what_is_below_them() -> None:
    places = {part: place for place, part in enumerate(LAYERS)}
    imports = imports_within_shared()
    assert {part_of(module) for module in imports} == places.keys()
    upwards = {
        (module, other)
        for module, others in imports.items()
        for other in others
        if places[part_of(other)] > places[part_of(module)]
    }
    assert upwards == set()


def packages_in(folder: Path) -> set[str]:
    return {file.parent.name for file in folder.glob("*/__init__.py")}


def test_the_tests_of_shared_are_in_the_same_packages() -> None:
    assert packages_in(ROOT / "tests" / "shared") == packages_in(ROOT / "shared")


def test_the_modules_of_shared_have_no_circular_imports() -> None:
    TopologicalSorter(imports_within_shared()).prepare()  # raises CycleError


def test_the_job_store_knows_none_of_its_observers() -> None:
    imports = imports_within_shared()
    known, new = set[str](), {"shared.jobs.store"}
    while new:
        known |= new
        new = {other for module in new for other in imports[module]} - known
    files = {module: ROOT / f"{module.replace('.', '/')}.py" for module in imports}
    observers = {module for module, file in files.items() if "(Observer):" in file.read_text("utf-8")}
    assert len(observers) > 7
    assert known & observers == set()


def test_redis_keys_are_named_in_one_place_alone() -> None:
    files = (file for part in PARTS for file in modules_of(part))
    naming = [str(file.relative_to(ROOT)) for file in files if re.search("[\"']sakuga:", file.read_text("utf-8"))]
    assert naming == ["shared/redis_keys.py"]


def test_modules_can_be_read_in_one_go() -> None:
    files = (file for part in ("shared", "web", "cli") for file in modules_of(part))
    lengths = {str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines()) for file in files}
    assert {file: length for file, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_functions_can_be_seen_at_once() -> None:
    files = [file for part in ("shared", "web", "cli", "worker") for file in modules_of(part)]
    trees = {file: ast.parse(file.read_text("utf-8")) for file in files}
    lengths = {
        f"{file.relative_to(ROOT)}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}


def test_every_part_of_the_design_is_there() -> None:
    expected = (
        "web/app.py", "worker/tasks.py", "worker/model_loader.py", "worker/generator.py", "worker/engines",
        "shared/pipeline.py", "shared/services.py", "cli/main.py", "weights/manifest.toml", "training", "benchmarks",
        "deploy", "docs", "docker-compose.yml", "pyproject.toml",
    )  # fmt: skip
    assert [name for name in expected if not (ROOT / name).exists()] == []


def test_only_workers_and_their_tools_know_an_engine() -> None:
    users = {file for part in PARTS for file, name in imports_of(part) if name.split(".")[0] in ENGINES}
    assert {file.split("/")[0] for file in users} <= {"worker", "training", "benchmarks"}


def test_runtimes_but_torch_are_imported_where_their_telemetry_is_off() -> None:
    users = {file for file, name in imports_of("worker") if name.split(".")[0] in ENGINES - {"torch"}}
    assert {str(Path(file).parent) for file in users} == {"worker/engines"}


def test_only_the_web_knows_flask() -> None:
    users = {file for part in PARTS for file, name in imports_of(part) if name.split(".")[0] == "flask"}
    assert {file.split("/")[0] for file in users} == {"web"}


def test_the_web_starts_without_any_engine_or_codec() -> None:
    code = f"import sys, web.app, web.__main__; print(sorted({ENGINES | CODECS!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def done_on_import(folder: Path, *modules: str) -> str:
    """Return what modules under `folder` open, read or connect to when imported, one per line."""
    done = subprocess.run(
        [sys.executable, "-c", WATCH, folder, *modules],
        cwd=folder,
        env={"SAKUGA_REDIS_URL": "redis://nowhere:1", "SAKUGA_PORT": "not a number", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_nothing_is_opened_or_read_when_modules_are_imported() -> None:
    tops = ("web", "worker", "shared", "cli", "training")
    files = (path.relative_to(ROOT) for top in tops for path in modules_of(top))
    modules = [".".join(file.with_suffix("").parts) for file in files]
    assert done_on_import(ROOT, *modules) == ""


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("open(__file__).close()", "open"),
        ("from pathlib import Path; Path('made').mkdir()", "os.mkdir"),
        ("import socket; socket.socket().bind(('127.0.0.1', 0))", "socket.bind"),
        ("import os; os.listdir('.')", "os.listdir"),
        ("import subprocess, sys; subprocess.run([sys.executable, '-c', ''])", "subprocess.Popen"),
    ],
)
def test_a_module_that_does_something_when_imported_is_noticed(tmp_path: Path, line: str, event: str) -> None:
    (tmp_path / "careless.py").write_text(f"def act():\n    {line}\n\nact()\n")
    (tmp_path / "careful.py").write_text("import careless\n")
    assert done_on_import(tmp_path, "careful").startswith(f"careless.py: {event} ")


PITFALLS = (ROOT / "docs" / "pitfalls.md").read_text("utf-8")
EXTERNAL_DATA = {"photos_dir", "reference_dir"}


def fixtures_by_test() -> dict[str, set[str]]:
    """Return the fixtures of each test."""
    trees = [ast.parse(file.read_text("utf-8")) for file in (ROOT / "tests").rglob("test_*.py")]
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {one.name: {argument.arg for argument in one.args.args} for one in functions if one.name.startswith("test_")}


def test_every_pitfall_in_the_documentation_has_its_test() -> None:
    named = set(re.findall(r"`(test_\w+)`", PITFALLS))
    assert len(named) > 10
    assert named <= fixtures_by_test().keys()


def test_the_documentation_names_the_tests_that_need_external_data() -> None:
    _, _, section = PITFALLS.partition("## Tests that need external data")
    assert set(re.findall(r"`(test_\w+)`", section)) == {
        name for name, needs in fixtures_by_test().items() if needs & EXTERNAL_DATA
    }
