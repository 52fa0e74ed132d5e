"""The help: word for word what is on file, true, and there at once."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from small_worlds import run_python

from augment.presets import PRESETS, preset_ranges
from pipeline.cli import cli, main
from pipeline.cli.options import Command
from pipeline.shards.config import LABEL_KINDS, STRATEGIES, BuildConfig
from pipeline.source.labels import AUTO

Run = Callable[..., Any]
HERE = Path(__file__).parent
CONTEXT = click.Context(cli)


def help_pages(augpipe: Run) -> str:
    """Return the help of augpipe and of all its commands, each after the command that prints it."""
    commands = [(), *((name,) for name in cli.list_commands(CONTEXT))]
    return "\n".join(f"$ augpipe {' '.join((*each, '--help'))}\n{augpipe(*each, '--help').out}" for each in commands)


def test_the_help_is_the_one_on_file(augpipe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word, on a wide terminal: every command, option, heading, default and example."""
    monkeypatch.setenv("COLUMNS", "200")
    assert help_pages(augpipe) == (HERE / "help.txt").read_text(encoding="utf-8")


def test_the_help_on_file_fits_a_terminal_and_keeps_its_tables() -> None:
    """Click joins lines that are not marked as a table, and wraps those that are too long."""
    lines = (HERE / "help.txt").read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 110
    assert not any("\\b" in line or "\b" in line for line in lines)
    examples = [line.strip() for line in lines if re.match(r" +augpipe", line)]
    assert len(examples) > 5
    assert all(len(line) <= 78 and line.count("augpipe") == 1 for line in examples)


def test_help_has_a_short_form_and_is_the_answer_to_nothing(augpipe: Run, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = augpipe("--help")
    assert wanted.code == 0
    assert augpipe("-h") == wanted
    assert augpipe("build", "-h") == augpipe("build", "--help")
    assert main([]) == 0
    assert capsys.readouterr().out == wanted.out


@pytest.mark.parametrize("name", cli.list_commands(CONTEXT))
def test_every_command_reports_and_every_option_has_help(name: str) -> None:
    """DESIGN: --json FILE everywhere."""
    command = cli.get_command(CONTEXT, name)
    assert isinstance(command, Command)
    assert command.help
    assert {"quiet", "json_file"} <= {parameter.name for parameter in command.params}
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))


def test_what_the_help_of_build_says_in_words_is_so(augpipe: Run) -> None:
    """Numbers and choices are the library's own; these are the sentences that speak of them."""
    out = " ".join(augpipe("build", "--help").out.split())
    assert all(f"({strategy})" in out for strategy in STRATEGIES)
    assert all(name in out.replace("- ", "-") for name in PRESETS)  # a line may end within a name
    options = {parameter.name: parameter for parameter in cli.get_command(CONTEXT, "build").params}
    assert preset_ranges(options["preset"].default) == BuildConfig().ranges
    ranges, (height, width) = BuildConfig().ranges, BuildConfig().size
    assert (ranges.shift_px, ranges.grid_points, height) == (None, 3, width)
    assert options["label_kind"].type.choices == (AUTO, *LABEL_KINDS)


def test_help_loads_no_library_but_click(tmp_path: Path) -> None:
    """Help and shell completion must be there at once."""
    code = "import sys\nfrom pipeline.cli import main\nmain(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)"
    for arguments in (["--help"], ["build", "--help"]):
        loaded = set(run_python(code, *arguments, cwd=tmp_path).stderr.split())
        assert "click" in loaded
        assert not loaded & {"numpy", "numba", "h5py", "msgspec", "joblib", "rich", "tomllib", "difflib"}
        assert not loaded & {"pipeline.shards.dataset", "pipeline.shards.provenance", "pipeline.build.builder"}
