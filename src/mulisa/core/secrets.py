"""Secrets of this process, which nobody is shown.

Whoever reads a secret keeps it here (`keep_secret`); whoever shows something to people or writes
it to a log passes it through `conceal`. Engines do not print their keys, but a service may well
repeat a key that it refuses, and that becomes an error message.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

CONCEALED: Final = "[secret]"
SHORTEST: Final = 8
"""Characters: shorter ones (``devkey``) are words that other texts have, too."""
_TELLING: Final = 12
"""So many first characters tell a secret, also one that was cut off."""

_USERINFO: Final = re.compile(
    r"""(?<=://)(?:[^\s/?\#"]*|[^\s/?\#":@]*:(?!\d*[/?\#])(?:(?!://)[^\s"])*)@""", re.ASCII
)
"""User and password in a URL (RFC 3986, section 3.2.1); also a password with a slash, which makes
the URL a wrong one that is quoted in an error. No part is read twice: texts come from services.
"""
_secrets: set[str] = set()


def keep_secret(text: str) -> None:
    """From now on `conceal` leaves it out."""
    if len(text) >= SHORTEST:
        _secrets.add(text)


def conceal(text: str) -> str:
    """The text with ``[secret]`` in place of each secret, and of one that was cut off; URLs in it
    without user and password.
    """
    text = _USERINFO.sub("", text)
    return _pattern(frozenset(_secrets)).sub(CONCEALED, text) if _secrets else text


@lru_cache(maxsize=1)
def _pattern(secrets: frozenset[str]) -> re.Pattern[str]:
    """Longest first; what begins like a secret is one as far as it goes on without a space."""
    ordered = sorted(secrets, key=len, reverse=True)
    cut = (re.escape(secret[:_TELLING]) + r"[\w.+/=-]*" for secret in ordered)
    return re.compile("|".join((*map(re.escape, ordered), *cut)))
