"""What every generator offers."""

from typing import Protocol

from torch import nn
from transformers import PreTrainedTokenizerBase

from training.models.batching import TokenIds
from training.models.replies import Reply


class Generator(Protocol):
    """Writes the answers of a model in training elsewhere. All ranks call both methods alike."""

    def check(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        prompts: TokenIds,
        max_new_tokens: int,
        identity: str,
    ) -> None:
        """Refuse what would answer otherwise than ``model``, before anything is trained; once per ``identity``.

        Args:
            model: the base model, without adapters.
            tokenizer: its tokenizer.
            prompts: token ids up to and including the generation prompt, of which some are tried.
            max_new_tokens: longest answer that is tried.
            identity: changes whenever the weights of ``model`` or their precision do.

        Raises:
            GeneratorError: it cannot be reached, or runs another model.
        """

    def replies(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        prompts: TokenIds,
        prefills: TokenIds,
        max_new_tokens: int,
    ) -> list[Reply]:
        """Greedy replies as :func:`training.models.generation.generate_replies` gives them, the same on all ranks.

        Raises:
            GeneratorError: it cannot be reached, or answers with another model.
        """
