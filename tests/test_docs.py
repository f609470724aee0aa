"""Every example in the documentation runs, in order, page by page; one that breaks fails here.

In a page, ```` ```python ```` blocks run one after the other in one namespace, in an empty folder. A block marked
```` ```output ```` right after one is what it must print. ```` ```pycon ```` blocks are doctests in the same namespace.
What is shown but not run has its language in `SHOWN`, so that no example escapes by a misspelt one. Docstrings with
``>>>`` are doctests.
"""

from __future__ import annotations

import contextlib
import doctest
import importlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

import asyncstore
from asyncstore import testing
from tests.conftest import need
from tests.services import require_server

TOP = Path(__file__).parent.parent
PACKAGE = Path(asyncstore.__file__).parent
PAGES = sorted(path.relative_to(TOP).as_posix() for path in [TOP / "README.md", *TOP.glob("docs/**/*.md")])
WITH_DOCTESTS = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text()
)

SHOWN = frozenset({"console", "ini", "json", "make", "sh", "sql", "text", "toml"})
NEEDS = {"bdb": "berkeleydb", "uvloop": "uvloop", "http": "httptools", "aiofiles": "aiofiles", "pytest": "pytest"}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

FENCE = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[^\n`]*)\n(?P<body>.*?)^ *(?P=ticks)$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    body: str
    line: int  # of the first line of the body


def blocks(text: str) -> Iterator[Block]:
    for match in FENCE.finditer(text):
        indent = match["indent"]
        body = re.sub(f"^{indent}", "", match["body"], flags=re.MULTILINE)
        yield Block(match["language"].strip(), body, text.count("\n", 0, match.start("body")) + 1)


def run_python(block: Block, page: str, namespace: dict[str, object]) -> str:
    """Run one program; return what it printed. Its tracebacks name the page and the line."""
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.body, page, "exec", dont_inherit=True)
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    return printed.getvalue()


def run_pycon(block: Block, page: str, namespace: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(block.body, namespace, page, page, block.line - 1)
    report = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(test, out=report.write, clear_globs=False)
    namespace.update(test.globs)
    assert not runner.failures, report.getvalue()


def run_page(page: str, text: str) -> int:
    """Run all examples of a page; return how many there were."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed: str | None = None  # by the block before this one, if it was a program
    count = 0
    for block in blocks(text):
        match block.language:
            case "python":
                printed = run_python(block, page, namespace)
                count += 1
                continue
            case "output":
                assert printed is not None, f"{page}:{block.line}: output of what?"
                assert doctest.OutputChecker().check_output(block.body, printed, OPTIONS), (
                    f"{page}:{block.line}: printed\n{printed}\ninstead of\n{block.body}"
                )
            case "pycon":
                run_pycon(block, page, namespace)
                count += 1
            case language:
                assert language in SHOWN or language.startswith("{"), f"{page}:{block.line}: unknown {language!r}"
        printed = None
    return count


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    text = (TOP / page).read_text()
    programs = "\n".join(block.body for block in blocks(text) if block.language in ("python", "pycon"))
    for word, module in NEEDS.items():
        if re.search(rf"\bimport\b.*\b{word}\b|\bfrom {word}\b", programs):
            need(module, page)
    for name in ("POSTGRESQL", "MARIADB"):
        if name in programs:
            require_server(getattr(testing, name))
    monkeypatch.chdir(tmp_path)
    run_page(page, text)


@pytest.mark.parametrize("path", WITH_DOCTESTS)
def test_the_examples_of_a_docstring_run(path, tmp_path, monkeypatch):
    name = "asyncstore." + path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if path.startswith("bdb/"):
        need("berkeleydb", path)
    monkeypatch.chdir(tmp_path)
    module: ModuleType = importlib.import_module(name)
    assert doctest.testmod(module, optionflags=OPTIONS).failed == 0


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```python\n1 / 0\n```\n", "division by zero"),
        ("```python\nprint(1)\n```\n\n```output\n2\n```\n", "page.md:6: printed"),
        ("```pycon\n>>> 1 + 1\n3\n```\n", "Failed example"),
        ("```phyton\n1 / 0\n```\n", "unknown 'phyton'"),
        ("```output\n2\n```\n", "output of what?"),
        ("- a list\n\n  ```python\n  if True:\n      1 / 0\n  ```\n", "division by zero"),
    ],
)
def test_a_broken_example_fails(text, complaint):
    with pytest.raises((AssertionError, ZeroDivisionError), match=re.escape(complaint)):
        run_page("page.md", text)


def test_blocks_of_a_page_share_their_names():
    assert (
        run_page("page.md", "```python\na = 1\n```\ntext\n```pycon\n>>> a\n1\n>>> b = 2\n```\n```python\nb\n```\n") == 3
    )
