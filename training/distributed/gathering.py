"""Forward passes of a sharded model without an engine round it, and what engines leave behind on its modules.

DeepSpeed gathers each module's parameters by hooks on it. A model has one set of them at a time: those of the engine
that trains it, or else, between trainings, those of :func:`gather_for_forward`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

_ENGINE = "_gathering_engine"
_OF_MODULES = ("pre_bwd_fn", "post_bwd_fn", "applied_pre_backward_ref_cnt", "ds_grads_remaining")
_OF_PARAMETERS = ("_z3_optimizer", "_hp_mapping")


def gather_for_forward(module: nn.Module, config: Mapping[str, Any]) -> None:
    """From here on every forward pass of ``module`` gathers what it needs and lets go of it; all ranks must call it.

    This is DeepSpeed's inference under ZeRO 3. No gradients: they need an engine.

    Args:
        module: partitioned, wholly or in part; what is whole is partitioned now.
        config: of DeepSpeed, as it was partitioned with.
    """
    import deepspeed

    # A list of one is the root that hooks of the engine's own sit on, which would outlive it on the model. No forward
    # pass begins there, so that DeepSpeed predicts no order of modules: parts of the model are run by themselves too.
    engine, *_ = deepspeed.initialize(model=nn.ModuleList([module]), config=dict(config))
    _forget(engine.module)  # or the model would stay in memory for good where nobody calls stop_gathering
    vars(module)[_ENGINE] = engine  # not an attribute: as one it would be a part of the module


def stop_gathering(module: nn.Module) -> None:
    """End what :func:`gather_for_forward` began; parameters are left partitioned. Does nothing where it did not."""
    engine = vars(module).pop(_ENGINE, None)
    if engine is not None:
        close(engine)


@contextmanager
def gathering(module: nn.Module, config: Mapping[str, Any]) -> Iterator[None]:
    """While active, forward passes of ``module`` gather what they need."""
    gather_for_forward(module, config)
    try:
        yield
    finally:
        stop_gathering(module)


def close(engine: "DeepSpeedEngine") -> None:
    """End an engine; of ZeRO 3, leave its module's parameters partitioned and free of what the engine put on them.

    What DeepSpeed itself leaves would tie the next engine over the same modules to this one, and keep the states of
    this one's optimizer in memory.
    """
    if not engine.zero_optimization_partition_weights():
        engine.destroy()
        return
    module = engine.module
    getattr(engine.optimizer, "parameter_offload", engine.optimizer).partition_all_parameters()
    engine.destroy()
    for part in module.modules():
        for name in _OF_MODULES:
            part.__dict__.pop(name, None)
    for parameter in module.parameters():
        for name in _OF_PARAMETERS:
            parameter.__dict__.pop(name, None)
        parameter.grad = None
    _forget(module)


def _forget(module: nn.Module) -> None:
    """Take ``module`` out of DeepSpeed's tables, which would keep it for good; one of them is private to it."""
    from deepspeed.runtime.zero import parameter_offload
    from deepspeed.runtime.zero.partitioned_param_coordinator import PartitionedParameterCoordinator
    from deepspeed.utils.debug import debug_clear_module_and_param_names

    debug_clear_module_and_param_names()
    gone = {id(part) for part in module.modules()}
    stack = parameter_offload.FWD_MODULE_STACK
    stack[:] = [part for part in stack if id(part) not in gone]
    wrapped = vars(PartitionedParameterCoordinator)["_PartitionedParameterCoordinator__params_to_release"]
    (cached,) = [cell.cell_contents for cell in wrapped.__closure__ if hasattr(cell.cell_contents, "cache_clear")]
    cached.cache_clear()
