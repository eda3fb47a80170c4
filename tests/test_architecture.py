"""Who may import whom; the map is in docs/architecture.md."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

PARTS = ("web", "worker", "shared", "cli", "training", "benchmarks")
ALLOWED = {
    "shared": {"shared"},
    "web": {"web", "shared"},
    "worker": {"worker", "shared"},
    "cli": {"cli", "worker", "shared"},
    "training": {"training", "worker", "shared"},
    "benchmarks": {"benchmarks", "worker", "shared"},
}
ENGINES = {"torch", "openvino", "onnxruntime"}


def imports_of(part: str) -> Iterator[tuple[str, str]]:
    """Every (file, imported module) of a part, wherever in the file the import stands."""
    for path in (ROOT / part).rglob("*.py"):
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


def test_every_part_of_the_design_is_there() -> None:
    expected = (
        "web/app.py", "worker/tasks.py", "worker/model_loader.py", "worker/generator.py", "worker/engines",
        "shared/pipeline.py", "shared/services.py", "cli/main.py", "weights/manifest.toml", "training", "benchmarks",
        "deploy", "docs", "docker-compose.yml", "pyproject.toml",
    )  # fmt: skip
    assert [name for name in expected if not (ROOT / name).exists()] == []


def test_only_workers_and_their_tools_know_an_engine() -> None:
    users = {file for part in PARTS for file, name in imports_of(part) if name.split(".")[0] in ENGINES}
    assert {file.split("/")[0] for file in users} <= {"worker", "training", "cli"}
    assert {file for file in users if file.startswith("cli/")} <= {"cli/doctor.py"}


def test_only_the_web_knows_flask() -> None:
    users = {file for part in PARTS for file, name in imports_of(part) if name.split(".")[0] == "flask"}
    assert {file.split("/")[0] for file in users} == {"web"}


def test_the_web_starts_without_any_engine() -> None:
    code = f"import sys, web.app, web.__main__; print(sorted({ENGINES!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_nothing_is_opened_or_read_when_modules_are_imported() -> None:
    code = "import shared.services, shared.store, web.app, worker.app, cli.main, cli.up"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"SAKUGA_REDIS_URL": "redis://nowhere:1", "SAKUGA_PORT": "not a number", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
