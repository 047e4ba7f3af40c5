"""Commands ask before they destroy something, in one way."""

from __future__ import annotations

import pytest
import typer

from headrace.cli import output
from headrace.cli.output import confirm
from headrace.errors import NotConfirmedError


def answer(monkeypatch: pytest.MonkeyPatch, said: bool | BaseException) -> list[str]:
    """A person at a terminal who says yes, no or presses a key; gives the questions asked."""
    asked: list[str] = []

    def ask(question: str, **_: object) -> bool:
        asked.append(question)
        if isinstance(said, BaseException):
            raise said
        return said

    monkeypatch.setattr(output, "can_ask", lambda: True)
    monkeypatch.setattr(typer, "confirm", ask)
    return asked


def test_yes_is_an_answer_to_a_question_that_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, False)
    confirm("Erase it?", yes=True)
    assert asked == []


def test_person_who_says_yes_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, True)
    confirm("Erase it?", yes=False)
    assert asked == ["Erase it?"]


def test_person_who_says_no_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, False)
    with pytest.raises(NotConfirmedError, match=r"Nothing was changed\."):
        confirm("Erase it?", yes=False)


def test_ctrl_c_at_the_question_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, typer.Abort())
    with pytest.raises(KeyboardInterrupt):
        confirm("Erase it?", yes=False)


def test_without_a_terminal_it_is_refused_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "can_ask", lambda: False)
    with pytest.raises(NotConfirmedError, match="Erase it.*Nothing was changed") as refused:
        confirm("Erase it?", yes=False)
    assert "--yes" in str(refused.value)
