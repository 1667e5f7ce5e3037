"""What people see: sentences keep their words whole on a terminal, and their lines in a file."""

import io
import sys

import pytest

from featurestore.cli.terminal import Answer, Terminal

SENTENCE = "198 of them in the same second as another one; " * 4


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", stream)
    Terminal().answer(Answer({}, [SENTENCE.strip()]), ".")
    return stream.getvalue()


def test_no_word_is_broken_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = printed(monkeypatch, Screen())
    assert max(len(line) for line in shown.splitlines()) <= 40
    assert shown.split() == SENTENCE.split()


def test_a_sentence_stays_one_line_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, io.StringIO()) == SENTENCE.strip() + "\n"
