"""What was understood, against what was said. Pure."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein

from mulisa.providers.plausible import spoken_words


def word_error_rate(said: str, heard: str) -> float:
    """Words that are missing, wrong or too many, per word that was said."""
    words = spoken_words(said)
    return Levenshtein.distance(words, spoken_words(heard)) / max(1, len(words))
