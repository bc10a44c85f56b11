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


def offences(file: Path) -> Iterator[str]:
    """Ways in ``file`` by which what is read could be code."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for name in imported(tree) & PICKLES - IN_MEMORY.get(str(file.relative_to(ROOT)), set()):
        yield f"imports {name}"
    for name, keywords in calls(tree):
        if name in FORBIDDEN:
            yield f"calls {name}"
        for switch in ("shell", "allow_pickle"):
            if is_constant(keywords.get(switch), True):
                yield f"calls {name} with {switch}"
        if "trust_remote_code" in keywords and not is_constant(keywords["trust_remote_code"], False):
            yield f"calls {name} with trust_remote_code"
        if name == "torch.load" and not is_constant(keywords.get("weights_only"), True):
            yield "calls torch.load for more than weights"
        if name.rpartition(".")[2] == "load_checkpoint" and "with data_alone():" not in text:
            yield "has DeepSpeed call torch.load for anything"


def prints(file: Path) -> Iterator[str]:
    """Ways in ``file`` of printing but by a Terminal, which takes no markup and neutralises texts."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        if name.rpartition(".")[2] in {"Console", "from_markup", "render_markup", "from_ansi"}:
            yield f"calls {name}"
        if name in {"typer.echo", "typer.secho", "click.echo", "sys.stdout.write", "sys.stderr.write"}:
            yield f"calls {name}"
        if any(keyword.arg == "markup" for keyword in node.keywords):
            yield f"calls {name} with markup"
        made = name_of(node.args[0].func) if node.args and isinstance(node.args[0], ast.Call) else ""
        if name == "print" and made not in {"json.dumps", "neutralised"}:  # JSON escapes what a terminal obeys
            yield "prints a text"


def test_nothing_that_is_read_can_be_code() -> None:
    assert [f"{file.relative_to(ROOT)} {how}" for file in FILES for how in offences(file)] == []


def test_nothing_prints_but_the_terminal() -> None:
    files = [file for file in FILES if file != ROOT / "orchestrator/terminal.py"]
    assert [f"{file.relative_to(ROOT)} {how}" for file in files for how in prints(file)] == []


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("import pickle", "imports pickle"),
        ("torch.load(file)", "torch.load"),
        ("torch.load(file, weights_only=False)", "torch.load"),
        ("load(path, trust_remote_code=asked)", "trust_remote_code"),
        ("yaml.safe_load(text)", "yaml.safe_load"),
        ("subprocess.run(words, shell=True)", "shell"),
        ("eval(text)", "eval"),
        ("engine.load_checkpoint(path)", "DeepSpeed"),
    ],
)
def test_each_way_is_seen(text: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "file.py").write_text(text)
    assert how in " ".join(offences(tmp_path / "file.py"))


@pytest.mark.parametrize("text", ["print(error)", 'print(f"[red]{x}[/]")', "Console()", "say(x, markup=True)"])
def test_each_way_of_printing_is_seen(text: str, tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(text)
    assert list(prints(tmp_path / "file.py"))
