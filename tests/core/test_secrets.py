from __future__ import annotations

import pytest

from mulisa.core import secrets
from mulisa.core.secrets import CONCEALED, conceal, keep_secret

pytestmark = pytest.mark.unit

KEY = "sk-proj-canary+/.*$0123456789=="


@pytest.fixture(autouse=True)
def _no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_secrets", set())


def test_a_secret_is_left_out_wherever_it_stands() -> None:
    assert conceal(f"refused: {KEY}") == f"refused: {KEY}"
    keep_secret(KEY)
    assert conceal(f"refused: {KEY}, {KEY!r}") == f"refused: {CONCEALED}, '{CONCEALED}'"
    assert conceal("nothing here") == "nothing here"


@pytest.mark.parametrize("length", [12, 20, len(KEY) - 1])
def test_one_that_was_cut_off_is_left_out_too(length: int) -> None:
    keep_secret(KEY)
    shown = conceal(f"Incorrect API key provided: {KEY[:length]}")
    assert shown.startswith("Incorrect API key provided: [secret]")
    assert KEY[:12] not in shown


def test_the_longer_of_two_is_left_out_as_a_whole() -> None:
    keep_secret("hunter2hunter2")
    keep_secret("hunter2hunter2-and-more")
    assert conceal("(hunter2hunter2-and-more)") == f"({CONCEALED})"


@pytest.mark.parametrize("word", ["", "secret", "devkey"])
def test_a_word_is_no_secret(word: str) -> None:
    keep_secret(word)
    assert conceal("the secret devkey") == "the secret devkey"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pw@host:8000/v1", "https://host:8000/v1"),
        ("cannot reach http://user:p@w:x@host/v1; right?", "cannot reach http://host/v1; right?"),
        ("https://token@host", "https://host"),
        ("wss://:pw@[::1]:1/x", "wss://[::1]:1/x"),
        ("https://user:p/w@host/v1 is no URL", "https://host/v1 is no URL"),
        ("https://user:1/2@host:80/v1", "https://user:1/2@host:80/v1"),
        ('{"a": "https://u:p@h", "b": "x@y"}', '{"a": "https://h", "b": "x@y"}'),
        ('{"a":"https://h","b":"x@y"}', '{"a":"https://h","b":"x@y"}'),
        ("http://host:8000/models/a@b", "http://host:8000/models/a@b"),
        ("http://host/models/a@b?c=d@e", "http://host/models/a@b?c=d@e"),
        ("see http://host:80 or a@b", "see http://host:80 or a@b"),
        ("alice@example.org", "alice@example.org"),
    ],
)
def test_urls_are_shown_without_user_and_password(text: str, shown: str) -> None:
    assert conceal(text) == shown


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["://", "://:", "://a:", "://a:1"])
def test_a_long_text_of_a_service_holds_nobody_up(piece: str) -> None:
    """Read once from end to end: each piece to the end of the text would take minutes."""
    assert conceal(piece * 200_000) == piece * 200_000
