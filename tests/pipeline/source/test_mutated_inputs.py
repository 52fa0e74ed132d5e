"""Damaged inputs of every format are typed errors or read rightly, soon and in little memory; see mutated_inputs.py."""

from pathlib import Path

import pytest
from mutated_inputs import KINDS, Verdict, campaign, in_a_process

N_INPUTS = 40


@pytest.mark.parametrize("name", KINDS)
def test_damaged_inputs_are_refused_or_right(name: str, tmp_path: Path) -> None:
    verdicts = [verdict for _, verdict in campaign(name, N_INPUTS, tmp_path)]
    assert [verdict for verdict in verdicts if verdict.is_fault] == []
    assert sum(verdict.words == "refused" for verdict in verdicts) > N_INPUTS // 4


def test_faults_are_found(tmp_path: Path) -> None:
    """What raises anything else, ends the process or reads other pixels is a fault."""
    from mutated_inputs import PAGE, judge, read

    def raise_it() -> str:
        raise ValueError("x")

    def crash() -> str:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    assert in_a_process(raise_it).words == "ValueError: x"
    assert in_a_process(crash).words == "ended by signal 9"
    assert in_a_process(raise_it).is_fault
    assert Verdict("refused", 9, 0).is_fault
    assert Verdict("refused", 0, 1 << 31).is_fault
    path = KINDS["PNG"].write(tmp_path, 1)
    assert judge(read(path), path, PAGE[None], KINDS["PNG"].peer) == "whole"
    assert judge(read(path), path, PAGE[None] + 1, KINDS["PNG"].peer) == "as by another library"
    other = judge(read(path), path, PAGE[None] + 1, lambda _: PAGE[None] + 2)
    assert other == "other pixels than another library reads"
    assert read(tmp_path / "none.png") == "refused"
