"""SafeGrad (arXiv 2508.07172, equations 3 and 4 and algorithm 1): the cross-entropy may not undo what is aligned.

    g' = g - min(0, g . a) / (a . a) a,    step along g' + alpha a

g is the gradient of the cross-entropy over all trained weights together, a that of an alignment loss: the Kullback-
Leibler divergence of the model from the initial one at the response tokens of safety samples, which are harmful prompts
with refusals. Where the two oppose each other, the part of g along a is taken out, as in gradient surgery between tasks
(arXiv 2001.06782). Ours: the divergence is the coarse one of :mod:`training.constraints.kl_reference`.

At the first step a is 0, since nothing has moved yet, and there is nothing to take out.
"""

from torch import Tensor

from training.config import SafeGradConstraint
from training.constraints.base import GradientConstraint, LogProbabilityRequest, Recalled
from training.constraints.kl_reference import coarse_divergence
from training.constraints.log_probabilities import LogProbabilities
from training.constraints.materials import Materials
from training.data.samples import Batch


class SafeGrad(GradientConstraint):
    """The projection, with coarse KL divergence from the initial model as the alignment loss.

    Args:
        samples: safety samples per optimizer step.
    """

    wants = LogProbabilityRequest("top")

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def penalties(self, logits: Tensor, chosen: slice, batch: Batch, references: Recalled | None) -> Tensor:
        """The divergence at each token."""
        del batch
        assert isinstance(references, LogProbabilities), "safe_grad was built without log-probabilities"
        return coarse_divergence(logits, references.at(chosen))

    def added(self, product: Tensor, square: Tensor, alpha: float) -> Tensor:
        """``alpha - min(0, g . a) / (a . a)``; ``alpha`` where a is 0."""
        return alpha - product.clamp(max=0) / square.clamp(min=1e-30)


def build(config: SafeGradConstraint, _materials: Materials) -> SafeGrad:
    """The constraint of a block of type ``safe_grad``."""
    return SafeGrad(config.samples)
