"""The sweep specification: what a YAML file may say, and what is refused before anything starts."""

from collections.abc import Mapping
from functools import cached_property
from itertools import product
from typing import Any, Self

from pydantic import Field, PositiveInt, ValidationError, model_validator

from sweeps.advice import says
from sweeps.errors import ObjectiveError
from sweeps.goals.objectives import FeasibleRule, Objective
from sweeps.goals.pruning import PruningConfig
from sweeps.goals.rung_metrics import rung_goals
from sweeps.schema.arms import CONSTRAINT, PLAIN, Arm, PlainConfig, plain_ranges, unconstrained
from sweeps.schema.budget import BudgetConfig
from sweeps.schema.forks import check_forks
from sweeps.schema.keep import KeepConfig
from sweeps.schema.resources import ResourcesConfig
from sweeps.schema.search import SearcherConfig
from sweeps.schema.seeds import SeedsConfig
from sweeps.space.space import Range, SearchSpace, parse_ranges, set_path
from sweeps.space.unions import blocks_with_types
from training.config import (
    LONGEST_NAME,
    RECOMMENDED,
    Config,
    DataConfig,
    DirectionConfig,
    EvaluationConfig,
    ModelConfig,
    TrialConfig,
    check_names,
    resolve_layers,
)

DEFAULT_SAFETY_SHARE = 0.05
REFERENCES = ("base", "ift", "ift_safety")
"""What every sweep measures first, per model: the untouched model, plain fine-tuning, and safety data alone."""


class SweepSpec(Config):
    """One sweep over one or several models."""

    name: str = Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the sweep: its default output folder and its MLflow experiment."""
    models: list[ModelConfig] = Field(min_length=1)
    """Models to fine-tune; each gets its own front."""
    data_root: str | None = None
    """Folder that relative data paths start from; None is the folder of the spec."""
    data: DataConfig
    """Training and evaluation data."""
    direction: DirectionConfig = DirectionConfig()
    """Extraction of the refusal direction."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How a trial is measured."""
    trial: TrialConfig = TrialConfig()
    """Fixed settings of every trial; a range in ``search`` replaces them."""
    search: dict[str, Any] = Field(default_factory=dict)
    """Ranges, laid out like ``trial``."""
    objectives: list[Objective] = Field(min_length=1)
    """What the front trades off."""
    feasible: list[FeasibleRule] = Field(default_factory=list)
    """Rules that a trial must meet to be on the front, such as safety/over_refusal <= 0.10."""
    trials: PositiveInt
    """Searched trials per model, of all arms together; the references come on top."""
    arms: list[Arm] = Field(default_factory=lambda: [CONSTRAINT])
    """What is searched by turns: with [constraint, plain] every second trial tunes plain fine-tuning itself, and the
    report says whether the constraint gains anything over it at the same budget."""
    plain: PlainConfig = PlainConfig()
    """How the arm of plain fine-tuning is searched."""
    searcher: SearcherConfig = SearcherConfig()
    """Who proposes trials."""
    pruning: PruningConfig | None = PruningConfig()
    """When a trial is ended early; null runs every trial to its end, and so does leaving it out where no rung foretells
    an objective. References and replicates are never ended."""
    seeds: SeedsConfig = SeedsConfig()
    """Repetitions of trials under other training seeds."""
    resources: ResourcesConfig = ResourcesConfig()
    """What a trial is given of the cluster."""
    budget: BudgetConfig = BudgetConfig()
    """What the whole sweep may spend before it stops cleanly."""
    keep: KeepConfig = KeepConfig()
    """What stays on disk of trials that have ended."""

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """Searched ranges by dotted path of the trial's field; of the constraint's arm where there are two."""
        return parse_ranges(self.search)

    @cached_property
    def ranges_by_arm(self) -> dict[Arm, dict[str, Range]]:
        """Searched ranges of every arm by dotted path."""
        return {arm: self.ranges if arm == CONSTRAINT else plain_ranges(self) for arm in self.arms}

    def without_search(self) -> Self:
        """The same with its fixed settings alone."""
        fixed = self.model_copy(update={"search": {}, "arms": [CONSTRAINT], "plain": type(self.plain)()})
        for searched in ("ranges", "ranges_by_arm"):  # a copy takes along what was cached
            vars(fixed).pop(searched, None)
        return fixed

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [model.name for model in self.models]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated:
            raise ValueError(f"models repeats the name {repeated!r}: give each model a name of its own")
        metrics = [objective.metric for objective in self.objectives]
        if len(set(metrics)) != len(metrics):
            raise ValueError(f"objectives repeats a metric ({', '.join(metrics)}): list each once")
        self.budget.check(self.resources)
        if "judges" not in self.evaluation.model_fields_set and not all(model.embedded for model in self.models):
            # Only the embedded model is known to repeat a request that it complies with.
            judges = [judge for judge in self.evaluation.judges if judge.type != "echo"]
            object.__setattr__(self, "evaluation", self.evaluation.model_copy(update={"judges": judges}))
        check_names(self.data, self.evaluation)
        self._check_length()
        self._check_malicious()
        self._check_scales()
        if self.pruning is not None:
            try:
                rung_goals(self.objectives, self.pruning.metrics)
            except ObjectiveError as error:
                if "pruning" in self.model_fields_set:
                    raise ValueError(str(error)) from error
                object.__setattr__(self, "pruning", None)  # the specification is frozen for everybody else
        self._check_arms()
        for arm in self.arms:
            self._check_ranges(arm)
            self.space(1, arm).check()
        self.check_grid(depth=1)
        if self.searcher.forks and not (self.counts_epochs and self.trial.task_samples is None):
            check_forks(self)
        return self

    def _check_arms(self) -> None:
        if CONSTRAINT not in self.arms or len(set(self.arms)) != len(self.arms):
            raise ValueError(
                f"arms ({', '.join(self.arms)}) must hold constraint, and each arm once: write [constraint, plain]"
            )
        if PLAIN not in self.arms:
            if self.plain.search:
                raise ValueError("plain.search is given, but arms does not hold plain: write arms: [constraint, plain]")
            return
        if self.trials < len(self.arms):
            raise ValueError(f"trials ({self.trials}) are shared by {len(self.arms)} arms: give at least one to each")

    def _check_ranges(self, arm: Arm) -> None:
        """Refuse a range of ``arm`` that reaches beyond what a trial accepts."""
        for path, searched in self.ranges_by_arm[arm].items():
            name = f"search.{path}" if self.ranges.get(path) is searched else f"plain.search.{path}"
            for value, beside in product(searched.extremes(), self._types_beside(path)):
                try:
                    self.trial_config({**beside, path: value}, arm)
                except ValidationError as error:
                    first = error.errors()[0]
                    if first["type"] == "extra_forbidden":
                        raise ValueError(f"{name} is not a field of a trial: check its spelling") from error
                    raise ValueError(f"{name} reaches {value!r}, which no trial accepts: {says(first)}") from error

    def _check_length(self) -> None:
        """Refuse a length that is given twice; once the samples are counted, one follows from the other."""
        held = self.trial.constraint
        for place, fields, written, searched in (
            ("", ("steps", "epochs"), self.trial.model_fields_set, self.ranges),
            ("constraint.", ("warmup_steps", "warmup_epochs"), held.model_fields_set, self.ranges),
        ):
            steps, epochs = (f"{place}{field}" for field in fields)
            by_epochs = epochs in searched or getattr(held if place else self.trial, fields[1], None) is not None
            if by_epochs and (steps in searched or (fields[0] in written and self.trial.task_samples is None)):
                raise ValueError(
                    f"trial.{steps} and trial.{epochs} both say how long: keep one of them "
                    f"(--set trial.{epochs}=null takes the second away)"
                )

    def _check_malicious(self) -> None:
        searched = self.ranges.get("malicious_count")
        largest = max([self.trial.malicious_count, *(searched.extremes() if searched else [])])
        if largest and self.data.malicious is None:
            raise ValueError(
                f"trial.malicious_count ({largest}) takes samples of data.malicious, which is not given: name a source "
                "of harmful prompts with answers that comply"
            )

    def _check_scales(self) -> None:
        searched = self.ranges.get("tuning.use_dora")
        dora = getattr(self.trial.tuning, "use_dora", False) or (searched is not None and True in searched.extremes())
        if self.evaluation.derived_scales and dora:
            raise ValueError(
                f"evaluation.scales ({', '.join(f'{scale:g}' for scale in self.evaluation.scales)}) cannot scale "
                "adapters with magnitudes of their own: turn trial.tuning.use_dora off, or leave scales out"
            )

    @property
    def counts_epochs(self) -> bool:
        """Whether the length of some trial is given as passes over the data."""
        paths = ("epochs", "constraint.warmup_epochs")
        blocks = self.ranges["constraint"].extremes() if "constraint" in self.ranges else []
        return (
            self.trial.counts_epochs
            or any(path in self.ranges for path in paths)
            or any(isinstance(block, Mapping) and block.get("warmup_epochs") for block in blocks)
        )

    def with_task_samples(self, count: int) -> "SweepSpec":
        """This specification with the number of task samples that epochs are passes over."""
        trial = TrialConfig.model_validate({**self.trial.model_dump(), "task_samples": count})
        return self.model_copy(update={"trial": trial})

    def _types_beside(self, path: str) -> list[dict[str, str]]:
        """Where the type of the block that ``path`` is in is searched too: the types that have such a field."""
        block, _, field = path.partition(".")
        searched = self.ranges.get(f"{block}.type")
        names = searched.extremes() if searched and field != "type" else []
        members = blocks_with_types(TrialConfig, names).get(block, {})
        having = [name for name in names if name in members and field in members[name].model_fields]
        return [{f"{block}.type": name} for name in having] or [{}]

    def trial_config(self, params: Mapping[str, Any], arm: Arm = CONSTRAINT) -> TrialConfig:
        """The trial with the searched values ``params`` (by dotted path) in place of the fixed ones.

        Where they change the ``type`` of a block, the fixed and searched fields that only other types have fall away;
        those that the new type has too keep their values.

        Raises:
            pydantic.ValidationError: the values do not make a trial.
        """
        if arm == PLAIN:
            params = unconstrained(params)
        tree = self.trial.model_dump()
        for path, value in params.items():
            tree = set_path(tree, path, value)
        for block, members in blocks_with_types(TrialConfig, self._types(params)).items():
            chosen = members.get(tree[block].get("type")) if f"{block}.type" in params else None
            if chosen is not None:
                elsewhere = {field for member in members.values() for field in member.model_fields}
                foreign = elsewhere - chosen.model_fields.keys()
                tree[block] = {field: value for field, value in tree[block].items() if field not in foreign}
        return TrialConfig.model_validate(tree)

    def _types(self, params: Mapping[str, Any]) -> list[Any]:
        """The type of the fixed constraint, and those that ``params`` and ranges name where types are searched."""
        searched = [value for path, one in self.ranges.items() if path.endswith(".type") for value in one.extremes()]
        return [self.trial.constraint.type, *searched, *(params[path] for path in params if path.endswith(".type"))]

    def space(self, depth: int, arm: Arm = CONSTRAINT) -> SearchSpace:
        """The search space of an arm for a model of ``depth`` decoder layers."""
        fixed = self.trial if arm == CONSTRAINT else self.trial_config({}, arm)
        return SearchSpace(self.ranges_by_arm[arm], depth, fixed.model_dump())

    def check_grid(self, depth: int) -> None:
        """Refuse a grid that cannot be enumerated for a model of ``depth`` decoder layers.

        Raises:
            ValueError: a range has no few values, or there are too many combinations.
        """
        if self.searcher.sampler == "grid":
            for arm in self.arms:
                self.space(depth, arm).check_grid()

    def check_layers(self, depth: int) -> None:
        """Refuse layers that a model of ``depth`` decoder layers does not have.

        Raises:
            ValueError: a layer lies outside the model, or ``recommended`` ones would never be known.
        """
        searched = self.ranges.get("constraint.layers")
        for value in [getattr(self.trial.constraint, "layers", None), *(searched.extremes() if searched else [])]:
            if value == RECOMMENDED and self.direction.causal is None:
                raise ValueError("layers (recommended) come from the causal report: set direction.causal to {}")
            if value not in (None, RECOMMENDED):
                resolve_layers(value, depth)

    def check_directions(self, width: int) -> None:
        """Refuse as many directions as the residual stream of a model, ``width`` wide, has.

        Raises:
            ValueError: nothing would be left of what adapters see.
        """
        searched, blocks = self.ranges.get("constraint.directions"), self.ranges.get("constraint")
        values = [getattr(self.trial.constraint, "directions", None), *(searched.extremes() if searched else [])]
        values += [one.get("directions") for one in (blocks.extremes() if blocks else []) if isinstance(one, Mapping)]
        for value in values:
            if value is not None and value >= width:
                raise ValueError(f"directions ({value}) leaves nothing of {width} dimensions: take fewer")

    def reference_config(self, label: str) -> TrialConfig | None:
        """The trial that measures the reference ``label``; None for the untouched base model."""
        if label == "base":
            return None
        safety = self._largest_safety() if label == "ift_safety" else {"safety_share": 0.0, "safety_count": None}
        return self.trial_config(safety, PLAIN)

    def _largest_safety(self) -> dict[str, Any]:
        """The largest searched safety count, else the fixed one, else the largest share: the two exclude each other."""
        searched = self.ranges.get("safety_count")
        counts = [value for value in searched.extremes() if value] if searched else []
        count = max(counts, default=self.trial.safety_count)
        if count:
            return {"safety_share": 0.0, "safety_count": count}
        return {"safety_share": self.largest_safety_share(), "safety_count": None}

    def largest_safety_share(self) -> float:
        """The largest searched safety share, else the fixed one, else 0.05."""
        searched = self.ranges.get("safety_share")
        largest = max(searched.extremes()) if searched else self.trial.safety_share
        return float(largest) or self.trial.safety_share or DEFAULT_SAFETY_SHARE
