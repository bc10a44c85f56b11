"""Answers of the model in training, written by a vLLM server that its adapter is loaded into."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import nn
from transformers import PreTrainedTokenizerBase

from training.config.generator import VllmGenerator
from training.distributed.ranks import from_rank_zero
from training.distributed.shares import shared_out
from training.errors import GeneratorError
from training.evaluation.generators.probe import Probe, forced
from training.evaluation.generators.vllm_server import VllmServer
from training.models.batching import TokenIds
from training.models.generation import end_token_ids
from training.models.replies import Reply, read_replies

Save = Callable[[nn.Module, Path], None]
"""Writes the adapters of a model to a folder in PEFT's format; all ranks call it."""

PROBED = 20
"""Answers that both sides give log-probabilities."""
_LONGEST_PROBE = 64
"""Tokens of an answer that is compared: a thousand of them say no more."""


class VllmReplies:
    """Lends each adapter to the server for as long as it answers.

    Rank 0 writes, loads, probes and unloads; every rank asks for its own share of the answers.
    """

    def __init__(self, config: VllmGenerator, directory: Path, save: Save) -> None:
        """Ask nobody yet.

        Args:
            config: where the server is.
            directory: below which adapters lie while they are served, under the same path here and there.
            save: see :data:`Save`.
        """
        self.config = config
        self._directory, self._save = directory, save
        self._server = VllmServer(config)
        self._probe: Probe | None = None
        self._checked: str | None = None

    def check(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        prompts: TokenIds,
        max_new_tokens: int,
        identity: str,
    ) -> None:
        """See :class:`training.evaluation.generators.base.Generator`."""
        if self._checked == identity:
            return
        chosen = _spread(list(dict.fromkeys(map(tuple, prompts))), PROBED)
        end_ids = end_token_ids(model, tokenizer)

        def asked() -> tuple[list[list[int]], list[list[float]]]:
            base = self._base()
            written = self._server.answers(base, chosen, min(max_new_tokens, _LONGEST_PROBE), end_ids)
            texts = [[*prompt, *answer] for prompt, answer in zip(chosen, written, strict=True)]
            return texts, self._server.log_probabilities(base, texts, starts)

        starts = [len(prompt) for prompt in chosen]
        texts, theirs = from_rank_zero(asked)
        probe = Probe(texts, starts, forced(model, texts, starts), [value for row in theirs for value in row])
        if probe.fault is not None:
            raise GeneratorError(
                f"{self._server.where} serves another model than the one in training: the log-probabilities of "
                f"{len(texts)} of its answers {probe.fault}: serve the same weights (for tuning qlora with "
                "--quantization bitsandbytes), not quantised otherwise"
            )
        self._probe, self._checked = probe, identity

    def replies(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        prompts: TokenIds,
        prefills: TokenIds,
        max_new_tokens: int,
    ) -> list[Reply]:
        """See :class:`training.evaluation.generators.base.Generator`; :meth:`check` goes first."""
        whole = [(*prompt, *start) for prompt, start in zip(prompts, prefills, strict=True)]
        distinct = list(dict.fromkeys(whole))  # sets may share prompts
        end_ids = end_token_ids(model, tokenizer)
        with self._served(model) as name:

            def answers_to(chosen: list[int]) -> list[list[int]]:
                return self._server.answers(name, [distinct[index] for index in chosen], max_new_tokens, end_ids)

            found = shared_out([len(ids) for ids in distinct], answers_to)
        answer_to = dict(zip(distinct, found, strict=True))
        return read_replies(tokenizer, prefills, [answer_to[ids] for ids in whole], end_ids)

    def _base(self) -> str:
        return str(self._server.base()["id"])

    @contextmanager
    def _served(self, model: nn.Module) -> Iterator[str]:
        """The name that the server answers as ``model`` under, for as long as the block lasts."""
        from peft import PeftModel

        if not isinstance(model, PeftModel):
            yield from_rank_zero(self._base)
            return
        name = from_rank_zero(lambda: f"procon-{uuid.uuid4().hex[:16]}")
        folder = self._directory / name
        try:
            self._save(model, folder)
            rank = max(int(one.r) for one in model.peft_config.values())
            from_rank_zero(lambda: self._server.load(name, folder, rank))
            self._check_adapter(model, name)
            yield name
        finally:
            from_rank_zero(lambda: self._taken_back(name, folder))

    def _taken_back(self, name: str, folder: Path) -> None:
        self._server.unload(name)
        shutil.rmtree(folder, ignore_errors=True)

    def _check_adapter(self, model: nn.Module, name: str) -> None:
        probe = self._probe
        assert probe is not None, "check() goes first"
        theirs = from_rank_zero(lambda: self._server.log_probabilities(name, probe.texts, probe.starts))
        fault = probe.fault_of_adapter(
            forced(model, probe.texts, probe.starts), [value for row in theirs for value in row]
        )
        if fault is not None:
            raise GeneratorError(
                f"{self._server.where} answers otherwise than the trained model as {name}: the log-probabilities of "
                f"{len(probe.texts)} answers {fault}: it has another adapter under this name, left it out, or does not "
                "support one of its parts; see whether trial.tuning.targets are such as vLLM supports"
            )


def _spread(prompts: list[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """``count`` of the prompts from all over the list, so that all sets are among them."""
    if len(prompts) <= count:
        return prompts
    return [prompts[index * len(prompts) // count] for index in range(count)]
