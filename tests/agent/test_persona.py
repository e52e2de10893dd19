from __future__ import annotations

from pathlib import Path

import pytest

from mulisa.agent.persona import Persona, load_persona
from mulisa.core.errors import ConfigError

pytestmark = pytest.mark.unit


def _file(folder: Path, text: str) -> Path:
    path = folder / "persona.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_mulisa(tmp_path: Path) -> None:
    assert load_persona(_file(tmp_path, "")) == Persona()


def test_all_keys_are_read(tmp_path: Path) -> None:
    path = _file(
        tmp_path,
        'name = "Doctor  Who"\naliases = ["Doc"]\ninstructions = "You heal."\nlanguage = "de-AT"\n',
    )
    persona = load_persona(path)
    assert persona.name == "Doctor Who"
    assert persona.identity == "doctor-who"
    assert persona.aliases == ("Doc",)
    assert persona.language == "de-AT"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nmae = 'x'", "nmae"),
        ("name = ''", "name"),
        ("name = 3", "name"),
        ("name = 'a\\u0007b'", "not TOML"),
        ('name = "a\\u0007b"', "printable"),
        ("identity = 'no spaces here'", "identity"),
        ("aliases = 'Doc'", "aliases"),
        ("aliases = [1]", "aliases.0"),
        ("language = 'English'", "language"),
        ("name = ", "not TOML"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(tmp_path: Path, text: str, named: str) -> None:
    if named == "not TOML" and "u0007" in text:
        text = 'name = "a\x07b"'
    with pytest.raises(ConfigError, match=named):
        load_persona(_file(tmp_path, text))


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_persona(tmp_path / "none.toml")
    (tmp_path / "persona.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not TOML"):
        load_persona(tmp_path / "persona.toml")


def test_the_system_prompt_tells_room_people_and_how_to_speak() -> None:
    prompt = Persona(aliases=("Lisa",)).system_prompt(room="demo", people=["Alice", "Bob"])
    assert prompt.startswith("You are Mulisa,")
    assert "'demo'" in prompt
    assert "Alice and Bob" in prompt
    assert "no markdown" in prompt
    assert "Lisa" in prompt


def test_the_system_prompt_of_an_empty_room() -> None:
    assert "nobody yet" in Persona().system_prompt(room="demo", people=[])
