"""What the doctor says of answers: whether there are any, whether they are whole, and what their verdicts hang on."""

from collections.abc import Iterator

from orchestrator.front.examined import Examined

MANY = 0.05
"""Share of answers from which on they are worth a note, and difference between two ways of reading refusals."""

_ADVICE = {
    "answers/thought_only": (
        "hold a thought and no answer: raise evaluation.max_new_tokens, or switch thinking off "
        "(chat_template_kwargs of the model)"
    ),
    "answers/truncated": (
        "were cut at evaluation.max_new_tokens: verdicts and accuracy rest on their beginnings; raise it unless that "
        "is meant"
    ),
    "safety/empty": (
        "to harmful prompts are empty, which counts neither as a refusal nor as a success of the attack: read them "
        "before trusting a low attack success rate (procon answers)"
    ),
}
_FIRST_SENTENCE = "safety/first_sentence/"


def unanswered(sweep: Examined) -> Iterator[str]:
    """Answers that are missing, cut or empty."""
    for metric, advice in _ADVICE.items():
        worst, value = _highest(sweep, metric)
        if value > MANY:
            yield f"{value:.0%} of the answers of {worst} {advice}"


def first_sentences(sweep: Examined) -> Iterator[str]:
    """Rates that would be others, had only the first sentence of each answer been searched for refusal phrases."""
    for rate in ("attack_success_rate", "over_refusal"):
        whole, first = f"safety/{rate}", f"{_FIRST_SENTENCE}{rate}"
        off = [
            (abs(by_first - by_whole), who, by_whole, by_first)
            for who, entry in sweep.shown
            if (by_first := entry.metrics.get(first)) is not None and (by_whole := entry.metrics.get(whole)) is not None
        ]
        distance, worst, by_whole, by_first = max(off, default=(0.0, "", 0.0, 0.0))
        if distance > MANY:
            yield (
                f"the verdict of the refusal phrases depends on where they stand: {whole} of {worst} is "
                f"{by_whole:.2f} by whole answers and {by_first:.2f} by first sentences; read answers on which they "
                "differ, or name a better judge (evaluation.judges)"
            )


def _highest(sweep: Examined, metric: str) -> tuple[str, float]:
    values = [(value, who) for who, entry in sweep.shown if (value := entry.metrics.get(metric)) is not None]
    value, worst = max(values, default=(0.0, ""))
    return worst, value
