"""The README and the program tell the same."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stylecam
from stylecam.cli.commands import load_program

ROOT = Path(__file__).parent.parent
PACKAGE = Path(stylecam.__file__).parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Made anew: a command parsed without its program forgets -h, and tests after this one use theirs.
COMMANDS: dict[str, Any] = load_program.__wrapped__().commands
FENCE = re.compile(r"^(`{3,})(\w*)[^\n]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


def shell_lines(text: str) -> Iterator[str]:
    """The lines of every shell block, those that end in a backslash joined."""
    for _, language, block in FENCE.findall(text):
        if language in ("sh", "bash", "shell", "console"):
            yield from block.replace("\\\n", " ").splitlines()


def calls(line: str) -> Iterator[list[str]]:
    """Every call of this program in a line, without the prompt, variables in front and redirections."""
    words = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="&|;<>")
    words.whitespace_split = True
    call: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("&|;<>"):
            while call and re.fullmatch(r"\w+=.*", call[0]):
                call = call[1:]
            if call and Path(call[0]).name == "stylecam":
                yield call[1:]
            elif "-m stylecam" in " ".join(call):
                yield call[call.index("stylecam") + 1 :]
            call = []
        else:
            call.append(word)


def check(call: list[str]) -> None:
    """Parse a call as the program would, without running it."""
    if call in (["--help"], ["-h"], ["--version"]):
        return
    assert call, "stylecam alone does nothing"
    name, *rest = call
    assert name in COMMANDS, f"there is no command {name}"
    if not {"-h", "--help"} & set(rest):
        COMMANDS[name].make_context(name, rest)


EXAMPLES = [call for line in shell_lines(README) for call in calls(line)]


def test_the_readme_has_examples() -> None:
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("call", EXAMPLES, ids=shlex.join)
def test_an_example_would_run(call: list[str]) -> None:
    check(call)


def test_every_command_is_in_the_readme() -> None:
    assert [name for name in COMMANDS if not re.search(rf"\bstylecam {name}\b", README)] == []


def test_every_option_in_the_text_is_known() -> None:
    """Of `stylecam live --sink` in running text the option exists; of `--sink` alone some command has it."""
    known = {"--help", "-h", "--version"}
    options = {
        name: {opt for param in command.params for opt in param.opts} for name, command in COMMANDS.items()
    }
    anywhere = known.union(*options.values())
    for span in re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", README)):
        words = span.split()
        used = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
        if words[0].startswith("--"):
            assert used <= anywhere, span
        elif words[0] == "stylecam" and len(words) > 1 and words[1] in COMMANDS:
            assert used <= options[words[1]] | known, span


def architecture() -> str:
    """The README's section on architecture, up to the next heading of its rank."""
    found = re.search(r"^(#+)[^\n]*architecture[^\n]*\n(.*?)(?=^\1 |^# |\Z)", README, re.I | re.M | re.S)
    assert found, "the README has no section on architecture"
    return found[2]


def parts() -> set[str]:
    """Every module and package right below stylecam/, as it would be named."""
    modules = {file.stem for file in PACKAGE.glob("*.py") if not file.name.startswith("__")}
    return modules | {file.parent.name for file in PACKAGE.glob("*/__init__.py")}


@pytest.mark.parametrize("part", sorted(parts()))
def test_every_part_is_on_the_plan(part: str) -> None:
    assert re.search(rf"[`\s/]{part}(\.py|/)?[`\s]", architecture()), part


def test_nothing_is_on_the_plan_that_is_not_there() -> None:
    rows = [line.split("|")[1] for line in architecture().splitlines() if line.startswith("| `")]
    named = {name.rstrip("/").removesuffix(".py") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert named - parts() <= {path.name for path in ROOT.iterdir()}
    there = {file.name for file in (*PACKAGE.rglob("*.py"), *(ROOT / "scripts").rglob("*.py"))}
    assert set(re.findall(r"\b\w+\.py\b", README)) <= there


def test_files_that_the_readme_links_to_are_there() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", FENCE.sub("", README)):
        assert "://" in target or (ROOT / target).exists(), target


def test_the_checks_would_notice() -> None:
    block = (
        "```sh\n$ A=1 stylecam live --sink null \\\n  --seconds 3 > log && stylecam --version | cat\n```\n"
    )
    found = [call for line in shell_lines(block) for call in calls(line)]
    assert found == [["live", "--sink", "null", "--seconds", "3"], ["--version"]]
    for call in found:
        check(call)
    for wrong in (["paint"], ["live", "--sinks", "null"], ["live", "--net", "huge"], ["video", "a.mp4"]):
        with pytest.raises(Exception, match=r"paint|--sinks|huge|output"):
            check(wrong)
