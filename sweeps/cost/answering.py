"""What measuring takes: keys and values of the answers being generated, beside the weights (pure)."""

from dataclasses import replace

from sweeps.cost.activations import BYTES
from sweeps.cost.memory import Memory, held_weights
from sweeps.cost.shape import Shape
from training.config import EvaluationConfig, FullTuning, TrialConfig


def cache_bytes(shape: Shape, precision: str, tokens: int) -> float:
    """Bytes of keys and values of one sequence of so many tokens; windows keep what they reach back to."""
    kept = sum(min(tokens, block.window or tokens) for block in shape.blocks)
    return float(2 * shape.keys * BYTES[precision] * kept)


def answering_memory(
    shape: Shape, trial: TrialConfig, evaluation: EvaluationConfig, workers: int, *, judges: float = 0.0
) -> Memory:
    """Bytes that one worker needs while ``evaluation.batch_size`` of the longest prompts are answered.

    Generation halves a batch that does not fit, so that more than there is slows it down and refuses nothing. The
    optimizer is gone by then.

    Args:
        shape: of the base model.
        trial: whose model is measured.
        evaluation: lengths and batch.
        workers: ranks of the trial.
        judges: bytes of local judges on the same device.
    """
    one = answer_bytes(shape, trial, evaluation)
    memory = Memory(
        weights=_weights(shape, trial, evaluation, workers), judges=judges, moment="while answers are generated"
    )
    return replace(memory, cache=evaluation.batch_size * one)


def answer_bytes(shape: Shape, trial: TrialConfig, evaluation: EvaluationConfig) -> float:
    """Bytes of one answer under way: its cache, and what its prompt's forward pass or its logits take at a time."""
    width = BYTES[trial.precision]
    widest = max(max(block.feed_forward, block.experts.width if block.experts else 0) for block in shape.blocks)
    prompt = evaluation.max_length * width * (4 * shape.hidden + 3 * widest)
    cache = cache_bytes(shape, trial.precision, evaluation.max_length + evaluation.max_new_tokens)
    return cache + max(float(prompt), float(shape.vocabulary * (width + 4)))


def answers_at_once(
    shape: Shape, trial: TrialConfig, evaluation: EvaluationConfig, workers: int, room: float, *, judges: float = 0.0
) -> int:
    """How many of the longest prompts are answered at once in ``room`` bytes of a worker; 0 where not even one is."""
    left = room - _weights(shape, trial, evaluation, workers) - judges
    fitting = int(left // answer_bytes(shape, trial, evaluation)) if left > 0 else 0
    return max(0, min(fitting, evaluation.batch_size))


def _weights(shape: Shape, trial: TrialConfig, evaluation: EvaluationConfig, workers: int) -> float:
    """Bytes of the weights, and of the trained ones a second time while their model is scaled; adapters are small."""
    held = held_weights(shape, trial, workers)
    if not evaluation.derived_scales or not isinstance(trial.tuning, FullTuning):
        return held
    return held + shape.parameters * BYTES[trial.precision] / (workers if trial.zero_stage == 3 else 1)
