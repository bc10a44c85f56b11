"""What a person should know before a sweep starts, though nothing is wrong: said by ``plan`` and ``run`` (pure)."""

from collections.abc import Iterator

from sweeps.schema.spec import SweepSpec

KEEP = "evaluation.keep_answers"


def remarks(spec: SweepSpec) -> list[str]:
    """Sentences about what is kept of the answers, and about judges that do not fit a model."""
    return [*_kept(spec), *_echoes(spec)]


def _kept(spec: SweepSpec) -> Iterator[str]:
    """Texts of answers are kept or not, model by model; whoever wants to read them later must know it now."""
    kept = [model.name for model in spec.models if spec.evaluation.keeps_text(embedded=model.embedded)]
    left = [model.name for model in spec.models if model.name not in kept]
    if kept:
        yield f"answers: the texts of {_listed(kept)} are kept in answers/ and read with procon answers"
    if left:
        yield (
            f"answers: of {_listed(left)} verdicts and hashes are kept, not the texts, which may be harmful; "
            f"--set {KEEP}=true keeps them, so that procon answers can show them"
        )


def _echoes(spec: SweepSpec) -> Iterator[str]:
    """An echo judge is of use where models repeat the request, as the embedded one was taught to."""
    own = [model.name for model in spec.models if not model.embedded]
    echoes = [judge.name for judge in spec.evaluation.judges if judge.type == "echo"]
    if own and echoes:
        yield (
            f"judges: {_listed(echoes)} takes an answer for compliance only where it repeats the request, as the "
            f"embedded model does; {_listed(own)} may comply without it, so that it says 0.00 and disagrees with every "
            "other judge: leave it out of evaluation.judges, or take a classifier (docs/judges.md)"
        )


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
