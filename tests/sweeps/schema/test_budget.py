import pytest

from sweeps.errors import SpecError
from sweeps.schema.budget import Budget, BudgetConfig
from sweeps.schema.load import load_spec
from sweeps.schema.resources import ResourcesConfig

GPUS = ResourcesConfig(workers=2, gpus_per_worker=1, price_per_hour=2.5)


@pytest.mark.parametrize(
    ("limits", "within", "beyond"),
    [
        ({"hours": 2}, (7199, 3 * 7199), (7200, 3 * 7200)),
        ({"gpu_hours": 6}, (3599, 3 * 3599), (3599, 3 * 3600)),
        ({"money": 15}, (3599, 3 * 3599), (3599, 3 * 3600)),
    ],
)
def test_each_limit_stops_the_sweep_when_it_is_reached_and_says_so(limits, within, beyond):
    budget = Budget(BudgetConfig(**limits), GPUS)
    assert budget.exceeded(*within) is None
    reason = budget.exceeded(*beyond)
    assert reason is not None
    (name,) = limits
    assert reason.startswith(f"budget.{name} ({limits[name]}) is spent: the sweep has used {limits[name]}")


def test_no_limits_never_stop_it():
    assert Budget(BudgetConfig(), GPUS).exceeded(1e12, 1e15) is None


def test_a_worker_without_gpu_has_the_price():
    budget = Budget(BudgetConfig(money=10), ResourcesConfig(workers=2, price_per_hour=1.0))
    assert budget.exceeded(3600, 4 * 3600) is None
    assert "budget.money (10)" in str(budget.exceeded(4500, 4 * 4500))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("budget.hours=0", "budget.hours (0) leaves nothing to spend: give a number above 0"),
        ("budget.gpu_hours=-3", "budget.gpu_hours (-3) leaves nothing to spend"),
        ("budget.money=5", "budget.money (5) cannot be counted without a price: give resources.price_per_hour"),
        ("budget.gpu_hours=5", "budget.gpu_hours (5) cannot be counted without GPUs: give resources.gpus_per_worker"),
        ("resources.price_per_hour=0", "resources.price_per_hour (0) is refused: it must be greater than 0"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_in_a_sentence(override, message):
    with pytest.raises(SpecError) as refused:
        load_spec("demo", [override])
    assert message in str(refused.value)
