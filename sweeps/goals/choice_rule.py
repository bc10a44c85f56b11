"""Rules by which one trial of a front is chosen, such as ``accuracy >= ift - .01, min attack_success_rate`` (pure).

    rule  = part {"," part}
    part  = metric ("<=" | ">=" | "<" | ">") sum  |  ("min" | "max") metric
    sum   = ["-"] term {("+" | "-") term}
    term  = number ["%"]  |  reference

A metric may be written by its end where that is unambiguous. A reference stands for its own value of the metric that
is bounded. Names with other characters than letters, digits and ``_ / . -`` stand in double quotes.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.errors import RuleError
from sweeps.statistics.pareto import Goal

Comparison = Literal["<=", ">=", "<", ">"]
ROUNDING = 1e-9
"""Two sums that differ by less are the same: 0.86 - 0.01 is not quite 0.85."""

_TOKEN = re.compile(
    r'(?P<space>\s+)|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*%?)|(?P<quoted>"[^"]*")'
    r"|(?P<name>[A-Za-z_](?:[\w/.]|-(?=[A-Za-z_]))*)|(?P<sign><=|>=|<|>|≤|≥|[-+,])"
)
_SIGNS = {"≤": "<=", "≥": ">="}
_GOALS: Mapping[str, Goal] = {"min": "minimize", "max": "maximize"}


@dataclass(frozen=True)
class Sum:
    """A number plus or minus values of references."""

    constant: float
    references: tuple[tuple[int, str], ...] = ()
    """(1 or -1, label)."""

    def value(self, references: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """What it comes to, by the references' values of the bounded metric; draws of them give draws."""
        found = np.asarray(self.constant, dtype=np.float64)
        for sign, label in self.references:
            found = found + sign * np.asarray(references[label], dtype=np.float64)
        return found

    def __str__(self) -> str:
        if not self.references:
            return f"{self.constant:g}"
        first, *others = self.references
        text = ("-" if first[0] < 0 else "") + first[1]
        text += "".join(f" {'-' if sign < 0 else '+'} {label}" for sign, label in others)
        number = f" {'-' if self.constant < 0 else '+'} {abs(self.constant):g}" if self.constant else ""
        return text + number


@dataclass(frozen=True)
class Bound:
    """What the chosen trial must keep."""

    metric: str
    comparison: Comparison
    bound: Sum

    def slack(self, values: ArrayLike, references: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
        """How far ``values`` of the metric are inside the bound, in its unit; negative outside."""
        distance = self.bound.value(references) - np.asarray(values, dtype=np.float64)
        return distance if self.comparison in ("<=", "<") else -distance

    def kept_by(self, values: ArrayLike, references: Mapping[str, ArrayLike]) -> NDArray[np.bool_]:
        """Which of ``values`` keep it; NaN does not."""
        slack = self.slack(values, references)
        return np.asarray(slack >= -ROUNDING if len(self.comparison) == 2 else slack > ROUNDING)

    def __str__(self) -> str:
        return f"{_written(self.metric)} {self.comparison} {self.bound}"


@dataclass(frozen=True)
class Aim:
    """What is made as small or as large as the bounds allow."""

    metric: str
    goal: Goal

    def __str__(self) -> str:
        return f"{self.goal[:3]} {_written(self.metric)}"


@dataclass(frozen=True)
class ChoiceRule:
    """Bounds that the chosen trial must keep, and what decides among those that do: the first aim, then the next."""

    bounds: tuple[Bound, ...]
    aims: tuple[Aim, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What must be measured, aims first, each once."""
        return tuple(dict.fromkeys([*(aim.metric for aim in self.aims), *(one.metric for one in self.bounds)]))

    @property
    def references(self) -> tuple[str, ...]:
        """Labels of the references it compares with, each once."""
        return tuple(dict.fromkeys(label for one in self.bounds for _, label in one.bound.references))

    @classmethod
    def parse(
        cls, text: str, metrics: Collection[str], references: Collection[str], otherwise: Sequence[Aim] = ()
    ) -> "ChoiceRule":
        """The rule that ``text`` writes.

        Args:
            text: as in the module's grammar.
            metrics: names of everything that was measured.
            references: labels of the references that were measured.
            otherwise: aims of a rule that names none.

        Raises:
            RuleError: it is no rule, or a name in it is unknown or could be several; the text points at the character.
        """
        return _Parser(text, metrics, references).rule(otherwise)

    def __str__(self) -> str:
        return ", ".join(map(str, [*self.bounds, *self.aims]))


def resolve(name: str, metrics: Collection[str]) -> list[str]:
    """The metrics that ``name`` may mean: itself, else those with the fewest parts that end in ``/<name>``."""
    if name in metrics:
        return [name]
    found = [metric for metric in metrics if metric.endswith(f"/{name}")]
    fewest = min((metric.count("/") for metric in found), default=0)
    return sorted(metric for metric in found if metric.count("/") == fewest)


def _written(metric: str) -> str:
    match = _TOKEN.fullmatch(metric)
    return metric if match is not None and match.lastgroup == "name" else f'"{metric}"'


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


class _Parser:
    """Reads one rule from left to right."""

    def __init__(self, text: str, metrics: Collection[str], references: Collection[str]) -> None:
        self._text, self._metrics, self._references = text, metrics, references
        self._tokens = self._split()
        self._next = 0

    def rule(self, otherwise: Sequence[Aim]) -> ChoiceRule:
        bounds: list[Bound] = []
        aims: list[Aim] = []
        while True:
            self._part(bounds, aims)
            token = self._take()
            if token.kind == "end":
                return ChoiceRule(tuple(bounds), tuple(aims or otherwise))
            if token.text != ",":
                raise self._error(token, "a comma or the end of the rule should stand here")

    def _part(self, bounds: list[Bound], aims: list[Aim]) -> None:
        token = self._take()
        if token.kind == "name" and token.text in _GOALS:
            aims.append(Aim(self._metric(self._take()), _GOALS[token.text]))
            return
        metric = self._metric(token)
        compared = self._take()
        if compared.text not in ("<=", ">=", "<", ">"):
            raise self._error(compared, f"one of <= >= < > should follow {token.text}")
        bounds.append(Bound(metric, compared.text, self._sum()))  # type: ignore[arg-type]

    def _sum(self) -> Sum:
        constant = 0.0
        references: list[tuple[int, str]] = []
        sign = 1
        if self._peek().text == "-":
            self._take()
            sign = -1
        while True:
            token = self._take()
            if token.kind == "number":
                constant += sign * _number(token.text)
            elif token.kind in ("name", "quoted"):
                references.append((sign, self._reference(token)))
            else:
                raise self._error(token, "a number or a reference should stand here")
            if self._peek().text not in ("+", "-"):
                return Sum(constant, tuple(references))
            sign = 1 if self._take().text == "+" else -1

    def _metric(self, token: _Token) -> str:
        if token.kind not in ("name", "quoted"):
            raise self._error(token, "a metric should stand here, or min or max and a metric")
        name = token.text.strip('"')
        found = resolve(name, self._metrics)
        if len(found) == 1:
            return found[0]
        if found:
            raise self._error(token, f"{name} could be {' or '.join(found)}: write more of it")
        ends = {metric.rsplit("/", 1)[-1]: metric for metric in sorted(self._metrics, key=lambda m: -m.count("/"))}
        near = difflib.get_close_matches(name, [*self._metrics, *ends], n=1, cutoff=0.5)
        measured = ", ".join(metric for metric in self._metrics if "/layer_" not in metric)
        advice = f"did you mean {near[0]}?" if near else f"choose one of {measured}"
        raise self._error(token, f"{name} is not a metric that this sweep measured: {advice}")

    def _reference(self, token: _Token) -> str:
        name = token.text.strip('"')
        if name in self._references:
            return name
        near = difflib.get_close_matches(name, self._references, n=1, cutoff=0.5)
        there = ", ".join(self._references) or "none"
        advice = f"did you mean {near[0]}?" if near else "write a number or one of these"
        raise self._error(token, f"{name} is not a reference that was measured ({there}): {advice}")

    def _split(self) -> list[_Token]:
        tokens, at = [], 0
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None:
                raise self._error(_Token("", "", at), f"{self._text[at]!r} has no place in a rule")
            if match.lastgroup != "space":
                tokens.append(_Token(str(match.lastgroup), _SIGNS.get(match[0], match[0]), at))
            at = match.end()
        return [*tokens, _Token("end", "", len(self._text.rstrip()))]

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _error(self, token: _Token, says: str) -> RuleError:
        shown = self._text.replace("\n", " ").replace("\t", " ")
        return RuleError(f"--rule, character {token.at + 1}: {says}\n  {shown}\n  {' ' * token.at}^")


def _number(text: str) -> float:
    return float(text.rstrip("% ")) / 100 if text.endswith("%") else float(text)
