import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import on_ranks
from tiny import random_direction, random_samples, tiny_llama

from training.constraints.references import files as reference_files
from training.constraints.references import projections as references
from training.constraints.references.projections import ReferenceKey, compute, load_or_build
from training.errors import ModelError
from training.models.residual import capture

KEY = ReferenceKey("model", "direction", "samples", "block_output")


def built(directory, key=KEY, samples=None):
    samples = samples or random_samples()
    return load_or_build(directory, key, tiny_llama(), samples, random_direction().unit)


def test_stored_projections_are_the_models_own(tmp_path):
    model, samples, direction = tiny_llama(), random_samples(), random_direction()
    found = built(tmp_path)
    for index in (0, 7, 39):
        ids = torch.tensor(samples.tokens[samples.offsets[index] : samples.offsets[index + 1]])[None]
        start = int(samples.response_starts[index])
        with torch.no_grad(), capture(model, range(3)) as states:
            model(input_ids=ids)
            expected = torch.stack([states[i][0, start:] @ direction.unit[i] for i in range(3)], dim=1)
        torch.testing.assert_close(found.of([index], [0, 1, 2]), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.of([index], [2, 0]), expected[:, [2, 0]], rtol=1e-5, atol=1e-5)


def test_rows_follow_the_order_of_a_batch(tmp_path):
    samples, found = random_samples(), built(tmp_path)
    batch = samples.collate([5, 2, 9])
    assert found.of([5, 2, 9], [0]).shape == (len(batch.response), 1)
    joined = torch.cat([found.of([index], [0]) for index in (5, 2, 9)])
    assert torch.equal(found.of([5, 2, 9], [0]), joined)


def test_what_is_read_is_bit_for_bit_what_was_computed(tmp_path):
    computed = compute(tiny_llama(), random_samples(), random_direction().unit, "block_output")
    assert np.array_equal(built(tmp_path).projections, computed)
    assert np.array_equal(built(tmp_path).projections, computed)


def test_one_row_per_sample_in_a_plain_arrow_file(tmp_path):
    import pyarrow as pa

    built(tmp_path)
    table = pa.ipc.open_file(tmp_path / KEY.name).read_all()
    lengths = [len(row) for row in table.column("projections").to_pylist()]
    assert lengths == (random_samples().response_lengths * 3).tolist()
    assert not list(tmp_path.glob("*.partial"))


def test_a_second_request_reads_instead_of_computing(tmp_path, monkeypatch):
    built(tmp_path)
    monkeypatch.setattr(references, "compute", lambda *_: pytest.fail("computed again"))
    built(tmp_path)


@pytest.mark.parametrize("field", ["model", "direction", "samples", "site", "tokens", "precision"])
def test_the_name_changes_with_everything_the_contents_depend_on(field):
    other = ReferenceKey(**{**vars(KEY), field: "another"})
    assert other.name != KEY.name


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_file_is_built_again_with_a_message(tmp_path, caplog, damage):
    good = np.array(built(tmp_path).projections)
    path = tmp_path / KEY.name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        where = content.find(good[:8].tobytes())
        content[where + 9] ^= 0xFF
    path.write_bytes({"flip": content, "cut": content[: len(content) // 2], "empty": b""}[damage])
    assert np.array_equal(built(tmp_path).projections, good)
    assert "built again" in caplog.text
    caplog.clear()
    built(tmp_path)
    assert "built again" not in caplog.text


def test_a_build_that_dies_leaves_nothing_half_made(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("killed")

    monkeypatch.setattr(reference_files.os, "replace", fail)
    with pytest.raises(RuntimeError, match="killed"):
        built(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def _build_and_count(directory):
    real = references.compute

    def counted(*arguments):
        (Path(directory) / f"built-by-{os.getpid()}").touch()
        return real(*arguments)

    references.compute = counted
    built(Path(directory))


def test_two_processes_that_ask_at_once_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build_and_count, args=(str(tmp_path),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(list(tmp_path.glob("built-by-*"))) == 1


def test_the_build_runs_every_sample_once_and_never_the_output_head(monkeypatch):
    model, samples = tiny_llama(), random_samples(3000)
    seen = []
    model.lm_head.register_forward_hook(lambda *_: pytest.fail("the output head ran"))
    model.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: seen.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    compute(model, samples, random_direction().unit, "block_output")
    assert sum(batch for batch, _ in seen) == 3000
    assert sum(batch * width for batch, width in seen) <= 1.2 * samples.lengths.sum()


@pytest.mark.parametrize("tokens", ["last_prompt", "all"])
def test_projections_at_other_tokens_and_on_several_directions(tmp_path, tokens):
    model, samples = tiny_llama(), random_samples()
    unit = torch.stack([random_direction(seed=seed).unit for seed in (1, 2)], dim=1)
    key = ReferenceKey("model", "direction", "samples", "block_output", tokens)
    found = load_or_build(tmp_path, key, model, samples, unit)
    for index in (0, 7):
        ids = torch.tensor(samples.tokens[samples.offsets[index] : samples.offsets[index + 1]])[None]
        start = int(samples.response_starts[index])
        chosen = slice(start - 1, start) if tokens == "last_prompt" else slice(None)
        with torch.no_grad(), capture(model, range(3)) as states:
            model(input_ids=ids)
            expected = torch.stack([states[i][0, chosen] @ unit[i].mT for i in range(3)], dim=1)
        torch.testing.assert_close(found.of([index], [0, 1, 2]), expected.flatten(1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.of([index], [2, 0]), expected[:, [2, 0]].flatten(1), rtol=1e-5, atol=1e-5)


def test_half_precision_halves_the_file_and_rounds(tmp_path):
    fine, coarse = (ReferenceKey(**{**vars(KEY), "precision": precision}) for precision in ("fp32", "fp16"))
    exact, rounded = built(tmp_path, fine), built(tmp_path, coarse)
    assert np.array_equal(rounded.projections, exact.projections.astype(np.float16))
    assert rounded.of([3], [0, 1, 2]).dtype == torch.float32
    values = exact.projections.nbytes
    assert (tmp_path / fine.name).stat().st_size - (tmp_path / coarse.name).stat().st_size == pytest.approx(
        values / 2, abs=512
    )


def test_projections_that_half_precision_cannot_hold_are_refused(tmp_path):
    key = ReferenceKey(**{**vars(KEY), "precision": "fp16"})
    with pytest.raises(ModelError, match=r"references\.precision \(fp16\) cannot hold"):
        load_or_build(tmp_path, key, tiny_llama(), random_samples(), random_direction().unit * 1e6)
    assert not list(tmp_path.glob("*.arrow"))


def _built_in_parallel(directory):
    """Projections and log-probabilities, and how many forward passes this rank made."""
    from training.constraints.references import log_probabilities as logprob_references
    from training.constraints.references.log_probabilities import LogProbabilityKey

    model, samples, seen = tiny_llama(), random_samples(3000), []
    model.model.register_forward_pre_hook(lambda *_: seen.append(1))
    path = Path(directory)
    found = load_or_build(path, KEY, model, samples, random_direction().unit)
    log_probabilities = logprob_references.load_or_build(
        path, LogProbabilityKey("model", "samples", "top"), model, samples
    )
    sums = {name: float(np.abs(values).sum()) for name, values in log_probabilities.table.columns.items()}
    return {"projections": float(np.abs(found.projections.astype(np.float64)).sum()), "passes": len(seen), **sums}


@pytest.mark.xdist_group("ranks")
def test_ranks_share_the_passes_and_read_the_same(tmp_path):
    alone = _built_in_parallel(tmp_path / "alone")
    first, second = on_ranks(2, _built_in_parallel, str(tmp_path / "together"))
    assert first["passes"] + second["passes"] == alone["passes"]
    assert min(first["passes"], second["passes"]) > 0
    for name in alone.keys() - {"passes"}:
        assert first[name] == second[name]
        assert first[name] == pytest.approx(alone[name], rel=1e-5)
