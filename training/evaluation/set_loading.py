"""From a source to a set of held-out prompts: drawn, split and tokenised; refused where it can measure nothing."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from training.config import AttackConfig, EvaluationConfig, Source
from training.data.chat import encode_chats, encode_prompts, opening_ids
from training.evaluation.drawing import Split
from training.evaluation.prompt_sets import Asked, PromptSet, Role, TaskSet
from training.evaluation.set_rows import check_families, draw_rows, golds_of, role_of


class SetLoader:
    """Draws, splits and tokenises one set after another."""

    def __init__(self, config: EvaluationConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        """Remember how sets are drawn and tokenised."""
        self.config = config
        self.tokenizer = tokenizer
        self.warnings: list[str] = []
        """What a person should know of the sets loaded so far, a sentence each."""

    def load(self, field: str, source: Source) -> PromptSet:
        """The set of the source that the specification calls ``data.<field>``."""
        kind, _, own_name = field.partition(".")
        role = role_of(field)
        where = f"data.{field}"
        drawn = draw_rows(field, source, self.config)
        self.warnings += drawn.warnings
        rows = drawn.rows
        columns = self._prompt_columns(own_name or kind, role, rows)
        if role in ("task", "capability"):
            return self._task_set(where, columns, [row for row, _ in rows])
        return PromptSet(**columns)

    def attack(self, prompt_set: PromptSet, attack: AttackConfig) -> Asked:
        """``prompt_set`` under ``attack``."""
        said = [attack.applied(prompt) for prompt in prompt_set.prompts]
        prefill = opening_ids(self.tokenizer, attack.text) if attack.type == "prefill" else []
        return Asked(prompt_set, attack.name, self._encoded(said), prefill)

    def check_families(self, sets: Sequence[PromptSet]) -> None:
        """Refuse metrics that two things would write, and extractors of what is not there.

        Raises:
            DataError: naming the family, set or extractor.
        """
        families = {
            family for one in sets if isinstance(one, TaskSet) and one.role == "task" for family in one.families
        }
        check_families(families, [one.name for one in sets if one.role == "capability"], self.config)

    def _prompt_columns(self, name: str, role: Role, rows: Sequence[tuple[dict[str, Any], Split]]) -> dict[str, Any]:
        prompts = [str(row["prompt"]) for row, _ in rows]
        return {
            "name": name,
            "role": role,
            "prompts": prompts,
            "token_ids": self._encoded(prompts),
            "requests": [row.get("request") or None for row, _ in rows],
            "families": [row.get("family") or None for row, _ in rows],
            "splits": [split for _, split in rows],
        }

    def _encoded(self, prompts: Sequence[str]) -> list[list[int]]:
        return [ids[-self.config.max_length :] for ids in encode_prompts(self.tokenizer, prompts)]

    def _task_set(self, where: str, columns: dict[str, Any], rows: Sequence[dict[str, Any]]) -> TaskSet:
        golds, extractors, warnings = golds_of(where, columns["name"], rows, self.config)
        self.warnings += warnings
        answered = [index for index, row in enumerate(rows) if row.get("response")]
        encoded = encode_chats(
            self.tokenizer,
            [str(rows[index]["prompt"]) for index in answered],
            [str(rows[index]["response"]) for index in answered],
            self.config.max_length,
        )
        return TaskSet(
            **columns,
            golds=golds,
            extractors=extractors,
            samples=encoded.samples,
            rows=[answered[row] for row in encoded.rows],
        )
