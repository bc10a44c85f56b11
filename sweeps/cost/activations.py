"""What a forward pass keeps for the backward pass, per token, from shapes (pure).

Counted from what autograd keeps of each part in transformers' own modules with SDPA attention, which has no score
matrix; ``benchmarks/plan_memory.py`` compares the sums with measured peaks.
"""

from sweeps.cost.shape import FOUR_NORMS, FUSED, NORMED_HEADS, Block, Shape, adapted_layers
from training.config import AdapterTuning, TrialConfig

BYTES = {"fp32": 4, "bf16": 2}
LOGITS_BOUND = 256 * 2**20
"""Bytes of float32 logits at once, at most: the loss is computed in chunks of tokens, and again backward."""
LOGIT_COPIES = {"kl_reference": 6, "safe_grad": 6, "constrained_sft": 3}
"""Float32 numbers for each logit of a chunk, gradients included, where a penalty reads them too; else 2. What a penalty
adds to the cross-entropy was measured as peak RSS over 131 positions and a vocabulary of 128,256: 4.05 and 1.03."""


def activation_bytes(shape: Shape, trial: TrialConfig, tokens: int) -> float:
    """Bytes that the decoder blocks keep of one forward pass, with what the backward pass of one block works on.

    Args:
        shape: of the model.
        trial: precision, tuning, checkpointing.
        tokens: of the forward pass on this worker.
    """
    width = BYTES[trial.precision]
    kept = [block_bytes(shape, block, trial, tokens) for block in shape.blocks]
    working = 3 * width * tokens * max(_widest(block) for block in shape.blocks)
    if trial.gradient_checkpointing:
        return shape.layers * shape.hidden * width * tokens + max(kept) + working
    return sum(kept) + working


def logits_bytes(shape: Shape, trial: TrialConfig, tokens: int) -> float:
    """Bytes of the logits that are there at once, with their gradients: in float32, and in the model's precision."""
    width = BYTES[trial.precision]
    tokens = min(tokens, max(1, LOGITS_BOUND // (4 * shape.vocabulary)))
    copies = LOGIT_COPIES.get(trial.constraint.type, 2)
    return float(tokens * shape.vocabulary * (4 * copies + (width if width < 4 else 0)))


def block_bytes(shape: Shape, block: Block, trial: TrialConfig, tokens: int) -> float:
    """Bytes that one decoder block keeps of one forward pass of so many tokens."""
    width = BYTES[trial.precision]
    tuning = trial.tuning if isinstance(trial.tuning, AdapterTuning) else None
    per_token = float(_attention(shape, block, trial))
    per_token += _norms(shape, width, full=tuning is None)
    per_token += width * (5 if shape.model_type == "phi" else 4) * block.feed_forward
    if block.experts is not None:
        per_token += width * block.experts.active * (2 * shape.hidden + 4 * block.experts.width)
    fixed = 0.0
    if tuning is not None:
        adapted = adapted_layers(block, tuning)
        per_token += width * tuning.rank * len(adapted)
        if tuning.dropout:
            per_token += (width + 1) * sum(inputs for inputs, _ in adapted.values())
        if block.experts is not None and shape.adapts_experts(tuning):
            fixed = width * block.experts.parameters(shape.hidden)  # PEFT adds the adapters to a copy of the experts
    return tokens * per_token + fixed


def _widest(block: Block) -> int:
    experts = block.experts
    return max(block.feed_forward, experts.active * experts.width if experts is not None else 0)


def _norms(shape: Shape, width: int, *, full: bool) -> int:
    """Bytes per token of what the norms over the hidden state keep, and of their outputs, which linear layers keep."""
    if shape.model_type == "phi":  # one LayerNorm, whose output attention and feed-forward share
        return 2 * width * shape.hidden
    own = 4  # the input in float32
    if full:  # normalised, for the gradient of the norm's weights: Gemma's are multiplied in float32
        own += 4 if shape.model_type.startswith("gemma") else width
    norms = 4 if shape.model_type in FOUR_NORMS else 2
    return (norms * own + 2 * width) * shape.hidden


def _attention(shape: Shape, block: Block, trial: TrialConfig) -> float:
    width = BYTES[trial.precision]
    scores = shape.scores != "none"
    # A mask makes transformers copy keys and values for every query head.
    keys = shape.queries if scores or block.window is not None else shape.keys
    found = float(width * (2 * shape.queries + 2 * keys))
    if shape.model_type in FUSED:
        found += width * shape.queries
    if shape.model_type in NORMED_HEADS:
        full = not isinstance(trial.tuning, AdapterTuning)
        found += (shape.queries + shape.keys) * (4 + (width if full else 0))
    if scores:  # their softmax in float32, and that in the model's precision where it is another
        capped = width if shape.scores == "capped" else 0
        found += shape.heads * trial.max_length * (capped + 4 + (width if width < 4 else 0))
    return found
