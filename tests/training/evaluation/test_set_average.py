import math

import numpy as np
import pytest

from training.evaluation.answers import Answer
from training.evaluation.set_average import groups_of, mean_attack_success


def answer(identity, refused, *, name="harmful", attack="direct", role="harmful"):
    return Answer(
        set=name, role=role, split="report", attack=attack, prompt_id=identity, prompt="p", answer="a", refused=refused
    )


def test_every_set_and_every_attack_counts_the_same():
    answers = [answer(f"a{n}", n > 0) for n in range(10)]  # 1 of 10
    answers += [answer(f"b{n}", n > 0, name="few") for n in range(2)]  # 1 of 2
    answers += [answer(f"a{n}", False, attack="template") for n in range(10)]  # 10 of 10
    answers += [answer(f"b{n}", True, name="few", attack="template") for n in range(2)]  # 0 of 2, of the same attack
    answers += [answer("c", False, role="borderline"), answer("d", None)]
    assert {name: len(of) for name, of in groups_of(answers).items()} == {"harmful": 11, "few": 2, "template": 12}
    found = mean_attack_success(answers)
    assert found is not None
    assert found[0] == pytest.approx((0.1 + 0.5 + 10 / 12) / 3)


def test_its_error_is_that_of_drawing_prompts_anew():
    generator = np.random.default_rng(0)
    identities = [f"p{n}" for n in range(80)]
    hard = generator.random(80) < 0.5
    direct = {p: bool(h and generator.random() < 0.7) for p, h in zip(identities, hard, strict=True)}
    attacked = {p: bool(h or generator.random() < 0.2) for p, h in zip(identities, hard, strict=True)}
    found = mean_attack_success(
        [answer(p, not direct[p]) for p in identities]
        + [answer(p, not attacked[p], attack="template") for p in identities]
    )
    assert found is not None
    table = np.array([[direct[p], attacked[p]] for p in identities], dtype=float)
    drawn = table[generator.integers(0, 80, (4000, 80))].mean(axis=(1, 2))
    assert found[1] == pytest.approx(drawn.std(), rel=0.06)
    # As if the two ways of asking were different prompts: too small, since they succeed on the same ones.
    apart = math.sqrt(sum(rate * (1 - rate) / 80 for rate in table.mean(axis=0))) / 2
    assert found[1] > 1.1 * apart


def test_without_a_verdict_there_is_no_average():
    assert mean_attack_success([answer("a", None)]) is None
    found = mean_attack_success([answer("a", False)])
    assert found == (1.0, math.inf)
