"""Reading the answer out of what a model said, and comparing it with the correct one."""

import re
from collections.abc import Callable

from training.config import ExtractorConfig

_NUMBER = re.compile(
    r"(?:(?<![\w.])[-+])?"  # a sign, but not the minus of 10-3
    r"\$?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
)
_LETTER = r"(?:\(\s*([A-J])\s*\)|\[([A-J])\]|\*\*\(?([A-J])\)?\*\*|([A-HJ])(?![\w'\u2019])|(I)(?=[.):]?\s*(?:\n|$)))"
_STATED = re.compile(rf"(?i:\banswer|\boption|\bchoice)(?i:\s+is)?\s*[:=]?\s*\$?{_LETTER}")
_LEADING = re.compile(r"\s*[(\[*]*([A-J])(?:[)\]*]|[.:,](?!\w)|\s*$|\s*\n)")
_STANDING = re.compile(r"(?<![\w'\u2019])(?:\(([A-J])\)|([A-J])(?=[.):,;]?\s*(?:\n|$))|([B-HJ])(?![\w'\u2019]))")

_Answer = str | float | None


def is_correct(answer: str, gold: str, extractor: ExtractorConfig | None = None) -> bool:
    """Whether ``answer`` gives ``gold``.

    Args:
        answer: what the model said.
        gold: the correct answer; for ``numeric`` and ``auto`` it may be GSM8K's ``… #### 12``.
        extractor: how the answer is read; None is ``auto``: where the correct answer is a number, the last number in
            the answer must equal it, any other must be the whole answer, up to case, spacing and a full stop.
    """
    kind = extractor or ExtractorConfig()
    wanted = expected(gold, kind)
    if kind.type == "auto":
        found = last_number(answer) if isinstance(wanted, float) else _normalised(answer)
    elif kind.type == "regex":
        found = _matched(answer, str(kind.pattern))
    else:
        found = _READERS[kind.type](answer)
    return found is not None and found == wanted


def expected(gold: str, extractor: ExtractorConfig) -> _Answer:
    """The correct answer in the form that answers are read in; None where ``gold`` does not have that form."""
    if extractor.type == "auto":
        number = _gold_number(gold)
        return _normalised(gold) if number is None else number
    if extractor.type == "regex":
        matched = _matched(gold, str(extractor.pattern))
        return _comparable(gold) if matched is None else matched
    return _READERS[extractor.type](gold)


def last_number(text: str) -> float | None:
    """The last number in ``text``, with thousands commas and a dollar sign understood."""
    numbers = _NUMBER.findall(text)
    return _value(numbers[-1]) if numbers else None


def chosen_letter(text: str) -> str | None:
    """The option (A to J) that ``text`` settles on; None where it names none.

    What it states last ("the answer is (B)") goes before what it begins with ("B. fog"), and that before the last
    letter that stands alone; "A" and "I" are words as well, and stand alone only in brackets or at the end of a line.
    """
    stated = list(_STATED.finditer(text))
    if stated:
        return _first_group(stated[-1])
    leading = _LEADING.match(text)
    if leading:
        return leading[1]
    standing = list(_STANDING.finditer(text))
    return _first_group(standing[-1]) if standing else None


def _first_group(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group)


def _matched(text: str, pattern: str) -> _Answer:
    """The last match, as the last thing said is the answer; its first group where it has one."""
    found = list(re.finditer(pattern, text))
    if not found:
        return None
    groups = found[-1].groups()
    return _comparable((groups[0] or "") if groups else found[-1][0])


def _comparable(text: str) -> str | float:
    number = text.strip().rstrip(".")
    return _value(number) if _NUMBER.fullmatch(number) else _normalised(text)


def _gold_number(gold: str) -> float | None:
    number = gold.rsplit("####", 1)[-1].strip()
    return _value(number) if _NUMBER.fullmatch(number) else None


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("$", ""))


def _normalised(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".").rstrip()


_READERS: dict[str, Callable[[str], _Answer]] = {
    "exact": _normalised,
    "numeric": last_number,
    "choice": chosen_letter,
}
