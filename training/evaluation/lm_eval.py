"""Tasks of lm-evaluation-harness (github.com/EleutherAI/lm-evaluation-harness), run on the model in training."""

import difflib
import importlib.util
import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from training.config.lm_eval import LmEvalConfig
from training.data.reasoning import end_of_thought
from training.distributed.ranks import from_rank_zero
from training.distributed.sharding import sharded
from training.distributed.shares import together
from training.errors import DataError, ModelError
from training.models.batching import is_out_of_memory, measuring
from training.models.loading import base_model

SCORE = "utility/lm_eval/"
"""The name of a task's score starts with this."""
STANDARD_ERROR = "utility/lm_eval_stderr/"
"""The name of its standard error starts with this."""
PRIMARY = ("exact_match", "acc_norm", "acc")
"""What a task is scored by: the first of these that it reports."""
_RESAMPLES = 1000
"""Bootstrap draws for standard errors of scores that are not means over samples, which have closed ones."""


def check_lm_eval(config: LmEvalConfig) -> None:
    """Refuse what could not be run, as far as it shows without loading data: the package, the folder, the names.

    Raises:
        DataError: naming the field, its value and what to do.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise DataError(
            f"evaluation.lm_eval.tasks ({', '.join(config.tasks)}) needs lm-evaluation-harness, which is not there: "
            "pip install 'procon-sweeps[eval]', or set evaluation.lm_eval to null"
        )
    if config.include_path is not None and not Path(config.include_path).is_dir():
        raise DataError(
            f"evaluation.lm_eval.include_path ({config.include_path}) is no folder: "
            "name the one that holds the YAML files of the tasks"
        )
    manager = _task_manager(config.include_path, tuple(config.tasks))
    for task in config.tasks:
        if task in manager.all_tags:
            raise DataError(
                f"evaluation.lm_eval.tasks ({task}) is a tag, which has no score: name its tasks one by one"
            )
        if task not in manager.all_tasks:
            near = difflib.get_close_matches(task, manager.all_tasks, n=1)
            raise DataError(
                f"evaluation.lm_eval.tasks ({task}) is no task that lm-eval knows: "
                f"{f'did you mean {near[0]}?' if near else 'name the folder of its YAML file in include_path'}"
            )


def lm_eval_metrics(
    model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, config: LmEvalConfig
) -> dict[str, float]:
    """The scores of ``model`` on the tasks of ``config``; the same on every rank.

    All ranks must call it. Rank 0 alone runs the tasks, since lm-eval shares requests by launching processes of
    accelerate's, which these are not; where the model is sharded, every rank runs the same requests in step.
    The model may carry unmerged adapters; its modes, and the states of all random generators, are left as they were.

    Returns:
        ``utility/lm_eval/<task>``, between 0 and 1, and ``utility/lm_eval_stderr/<task>`` where lm-eval gives one.

    Raises:
        DataError: a task is not known, cannot be loaded or is not scored by any of :data:`PRIMARY`.
        ModelError: memory does not suffice for a batch.
    """
    run = partial(_scores, model, tokenizer, config)
    return together(run)[0] if sharded(model) else from_rank_zero(run)


def _scores(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, config: LmEvalConfig) -> dict[str, float]:
    check_lm_eval(config)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of being handed a model in memory, every time
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    base = base_model(model)
    # measuring goes round the construction too: HFLM switches the model to evaluation for good.
    with measuring(model), _random_states_kept(base.device):
        try:
            found = simple_evaluate(
                model=HFLM(
                    pretrained=base,
                    tokenizer=tokenizer,
                    batch_size=config.batch_size,
                    think_end_token=end_of_thought(tokenizer),
                ),
                tasks=list(config.tasks),
                num_fewshot=config.few_shot,
                limit=config.limit,
                apply_chat_template=config.chat_template,
                task_manager=_task_manager(config.include_path, tuple(config.tasks)),
                bootstrap_iters=_RESAMPLES,
                log_samples=False,
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"memory does not suffice for evaluation.lm_eval.batch_size ({config.batch_size}): lower it"
            ) from error
        except (OSError, ValueError, KeyError) as error:  # data that is not there, templates, code that it will not run
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"evaluation.lm_eval.tasks ({', '.join(config.tasks)}) cannot be run: {reason}") from error
    scores: dict[str, float] = {}
    for task in config.tasks:
        scores |= _score(task, found["results"].get(task, {}))
    return scores


def lm_eval_errors(scores: Mapping[str, float]) -> dict[str, float]:
    """Standard error of each task in ``scores``, what :func:`lm_eval_metrics` returns, by the name of its score."""
    return {
        SCORE + name.removeprefix(STANDARD_ERROR): value
        for name, value in scores.items()
        if name.startswith(STANDARD_ERROR)
    }


@lru_cache(maxsize=1)
def _task_manager(include_path: str | None, tasks: tuple[str, ...]) -> Any:
    """What knows ``tasks``; the thousands of YAML files that ship with lm-eval are left unread where none is needed."""
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        own = TaskManager(include_path=include_path, include_defaults=False)
        if set(tasks) <= set(own.all_subtasks):  # a group may have members that ship with lm-eval
            return own
    return TaskManager(include_path=include_path)


def _score(task: str, results: Mapping[str, Any]) -> dict[str, float]:
    """Value and standard error of the first of :data:`PRIMARY`; of several filters of it, the task's first."""
    for metric in PRIMARY:
        for key, value in results.items():
            name, _, kind = key.partition(",")
            if name == metric and isinstance(value, int | float):
                found = {SCORE + task: float(value)}
                error = results.get(f"{metric}_stderr,{kind}")
                if isinstance(error, int | float):  # else it says N/A
                    found[STANDARD_ERROR + task] = float(error)
                return found
    there = sorted({key.partition(",")[0] for key in results if "," in key and "_stderr," not in key})
    raise DataError(
        f"evaluation.lm_eval.tasks ({task}) is scored by {', '.join(there) or 'nothing of its own'}, and by none of "
        f"{', '.join(PRIMARY)}: {'take it out' if there else 'name the tasks of the group one by one'}"
    )


@contextmanager
def _random_states_kept(device: torch.device) -> Iterator[None]:
    """While active, lm-eval may seed every generator; afterwards they go on as if it had not."""
    plain, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(numpy)
