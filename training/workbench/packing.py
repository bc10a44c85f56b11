"""Whether a trial is packed: only where that changes nothing."""

from collections.abc import Callable

from training.config import TrialConfig
from training.data.samples import Samples
from training.distributed.sharding import computed_together
from training.errors import ModelError
from training.models.forms import Form
from training.models.packing_probe import packing_fault
from training.workbench.warm_model import WarmModel


class PackingDecision:
    """The decision for trials of one model, which is probed once in each form and row length."""

    def __init__(self, warm: WarmModel, name: str, warn: Callable[[str], None]) -> None:
        """Remember whom to probe.

        Args:
            warm: the model.
            name: what it is called in sentences.
            warn: told why a trial is not packed that would rather be.
        """
        self._warm, self._name, self._warn = warm, name, warn
        self._faults: dict[tuple[Form | None, int], str | None] = {}

    def decided(self, trial: TrialConfig, samples: Samples) -> TrialConfig:
        """The trial as it will be trained; all ranks decide alike.

        Args:
            trial: whose packing is to be decided, of a model in the form that is loaded.
            samples: its training samples.

        Raises:
            ModelError: ``packing: true`` of a model that does not keep the samples of a row apart.
        """
        if not trial.packing:
            return trial
        probed, model = (self._warm.form, trial.max_length), self._warm.model
        if probed not in self._faults:
            self._faults[probed] = computed_together(model, lambda: packing_fault(model, samples))
        fault = self._faults[probed]
        if fault is not None and trial.packing is True:
            raise ModelError(f"trial.packing (true) cannot be had for {self._name}: {fault}; write auto or false")
        if fault is not None:
            self._warn(f"{self._name} is trained without packing (trial.packing is auto): {fault}")
        return trial.model_copy(update={"packing": fault is None})
