"""What is read from disk or from others is data: nowhere in the packages is there a way for it to be code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [file for package in ("orchestrator", "sweeps", "training") for file in sorted((ROOT / package).rglob("*.py"))]
PICKLES = {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
IN_MEMORY = {"training/distributed/ranks.py": {"pickle"}, "training/loop/export.py": {"pickle"}}
"""An error that goes to other ranks; the class of an error."""
FORBIDDEN = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.safe_load",
}


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str | None, ast.expr]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield name_of(node.func), {keyword.arg: keyword.value for keyword in node.keywords}


def imported(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").partition(".")[0], *(alias.name for alias in node.names)}
    return found


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_that_is_read_can_be_code(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    where = str(file.relative_to(ROOT))
    assert not imported(tree) & PICKLES - IN_MEMORY.get(where, set())
    for name, keywords in calls(tree):
        assert name not in FORBIDDEN, name
        assert not is_constant(keywords.get("shell"), True), name
        assert not is_constant(keywords.get("allow_pickle"), True), name
        assert "trust_remote_code" not in keywords or is_constant(keywords["trust_remote_code"], False), name
        if name == "torch.load":
            assert is_constant(keywords.get("weights_only"), True), "torch.load takes tensors alone"
        if name.rpartition(".")[2] == "load_checkpoint":
            assert "with data_alone():" in file.read_text(encoding="utf-8"), "DeepSpeed asks torch.load for anything"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_prints_but_the_terminal(file: Path) -> None:
    """A Terminal takes no markup and neutralises texts: no console of rich's own prints, nor does ``print``."""
    if file.name == "terminal.py":
        return
    for name, keywords in calls(ast.parse(file.read_text(encoding="utf-8"))):
        assert name.rpartition(".")[2] not in {"Console", "from_markup", "render_markup", "from_ansi"}, name
        assert name not in {"typer.echo", "typer.secho", "click.echo", "sys.stdout.write", "sys.stderr.write"}, name
        assert "markup" not in keywords, name
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and name_of(node.func) == "print":
            assert isinstance(node.args[0], ast.Call), "print is for JSON, which escapes what a terminal obeys"
            assert name_of(node.args[0].func) == "json.dumps"
