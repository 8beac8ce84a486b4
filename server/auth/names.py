"""Names that people may have: readable, inert, and not to be mistaken for another."""

from __future__ import annotations

import unicodedata

from server.errors import InvalidField

MAX_CHARACTERS = 32

# Cc control, Cf format (zero width, bidi), Cs surrogates, Co private use, Cn unassigned, Zl and Zp line breaks.
_UNWANTED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def clean_name(name: str) -> str:
    """Return a name as it is kept: trimmed, composed (NFC), with single spaces.

    Raises:
        InvalidField: it is empty, too long, or has characters that do not show or that turn the text around.
    """
    composed = unicodedata.normalize("NFC", " ".join(name.split(" ")).strip(" "))
    if any(unicodedata.category(c) in _UNWANTED for c in composed):
        raise InvalidField("name", "A name has visible characters only.")
    if any(unicodedata.category(c) == "Zs" and c != " " for c in composed):
        raise InvalidField("name", "A name has ordinary spaces only.")
    composed = " ".join(composed.split())
    if not composed:
        raise InvalidField("name", "Choose a name.")
    if len(composed) > MAX_CHARACTERS:
        raise InvalidField("name", f"A name has at most {MAX_CHARACTERS} characters.")
    if all(unicodedata.category(c).startswith("M") for c in composed):
        raise InvalidField("name", "A name has letters, digits or signs, not accents alone.")
    return composed


def name_key(name: str) -> str:
    """Return the form in which names are compared: compatibility-composed and case-folded (Unicode 3.13, D145)."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", folded)
