"""What ``front.json`` says of the arms of a search beside each other (pure)."""

from orchestrator.front.schema.values import Number, Part, Values


class ArmFront(Part):
    """The trials of one arm of the search, as if there were no other."""

    trials: int
    """Searched trials, whatever became of them."""
    front: tuple[str, ...]
    """Ids of its non-dominated feasible trials, chosen on the select prompts; of the plain arm also the references
    that were trained, by their labels, and scaled models of either."""
    hypervolume: Number
    """Of those that keep the rules on the report prompts, by their values there."""


class Level(Part):
    """What both arms pay for the same utility."""

    metric: str
    """Second objective."""
    value: Number
    """The best that both fronts attain of it, on the report prompts."""
    best: Values
    """By arm: the best first objective of its front members that attain it."""


class ArmVerdict(Part):
    """Whether the constraint gains anything over plain fine-tuning that was tuned with the same budget."""

    difference: Number
    """Hypervolume of the constraint's front minus that of the plain one."""
    low: Number
    """Lower end of its 95 % interval."""
    high: Number
    """Upper end of its 95 % interval."""
    paired: bool
    """Whether prompts were drawn together for all trials, since each one's outcomes by prompt are known."""
    level: Level | None
    """Null without a second objective, or where a front is empty."""
    sentence: str
    """For people."""
