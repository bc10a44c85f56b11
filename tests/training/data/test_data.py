import json
import math
import subprocess
import sys
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from training.config import TrialConfig
from training.config.data import Source, SplitSource
from training.data import check_source, load_split
from training.data.batch_plan import BatchPlan, balance, mix
from training.data.packing import first_fit_decreasing
from training.data.samples import Samples
from training.errors import DataError


def rows(count, **columns):
    return [
        {"prompt": f"question {number}", "response": f"answer {number}", **{k: f(number) for k, f in columns.items()}}
        for number in range(count)
    ]


def jsonl(path, found):
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def as_parquet(path, found):
    parquet.write_table(pa.Table.from_pylist(found), path)
    return str(path)


class TestSplits:
    def test_own_split_column_is_used(self, tmp_path):
        path = as_parquet(tmp_path / "a.parquet", rows(9, split=lambda n: ("train", "test", "val")[n % 3]))
        assert load_split(Source(path=path), "train")["prompt"] == [f"question {n}" for n in (0, 3, 6)]
        assert load_split(Source(path=path), "test")["prompt"] == [f"question {n}" for n in (1, 4, 7)]

    def test_otherwise_distinct_prompts_are_halved_and_never_shared(self, tmp_path):
        found = rows(20) + rows(20) + rows(20, split=lambda _n: "train")
        path = jsonl(tmp_path / "a.jsonl", [{k: v for k, v in row.items() if k != "split"} for row in found])
        train, test = (load_split(Source(path=path), split)["prompt"] for split in ("train", "test"))
        assert len(train) + len(test) == 60
        assert not set(train) & set(test)
        assert len(set(train)) == len(set(test)) == 10

    def test_the_halves_follow_the_seed(self, tmp_path):
        path = jsonl(tmp_path / "a.jsonl", rows(20))
        first, same, other = (load_split(Source(path=path, split_seed=s), "train")["prompt"] for s in (1, 1, 2))
        assert first == same != other

    def test_only_a_train_split_is_halved_too(self, tmp_path):
        path = jsonl(tmp_path / "a.jsonl", rows(10, split=lambda _n: "train"))
        assert len(load_split(Source(path=path), "test")) == 5

    def test_prompts_shared_with_test_are_dropped_from_train_and_counted(self, tmp_path, caplog):
        train, test = jsonl(tmp_path / "a.jsonl", rows(10)), jsonl(tmp_path / "b.jsonl", rows(3))
        source = Source(train=SplitSource(path=train), test=SplitSource(path=test))
        assert load_split(source, "train")["prompt"] == [f"question {n}" for n in range(3, 10)]
        assert len(load_split(source, "test")) == 3
        assert "3 training rows were dropped" in caplog.text

    def test_explicit_split_value(self, tmp_path):
        path = jsonl(tmp_path / "a.jsonl", rows(6, split=lambda n: "abc"[n % 3]))
        source = Source(train=SplitSource(path=path, split="a"), test=SplitSource(path=path, split="c"))
        assert load_split(source, "train")["prompt"] == ["question 0", "question 3"]

    def test_paths_are_concatenated_and_limited(self, tmp_path):
        first = jsonl(tmp_path / "a.jsonl", rows(10, answer=str))
        second = as_parquet(tmp_path / "b.parquet", [{"prompt": f"more {n}", "response": "r"} for n in range(10)])
        both = load_split(Source(path=[first, second]), "train")
        assert set(load_split(Source(path=[first, second]), "test")["prompt"]).isdisjoint(both["prompt"])
        assert {answer == "" for answer in both["answer"]} == {True, False}
        limited = load_split(Source(path=[first, second], limit=3), "train")
        assert len(limited) == 3
        assert set(limited["prompt"]) <= set(both["prompt"])

    def test_columns_are_mapped_and_everything_is_text(self, tmp_path):
        path = as_parquet(tmp_path / "a.parquet", [{"question": f"q{n}", "label": n, "other": [1]} for n in range(4)])
        source = Source(path=path, columns={"prompt": "question", "answer": "label"})
        found = load_split(source, "train")
        assert found.column_names == ["prompt", "answer"]
        assert all(isinstance(answer, str) for answer in found["answer"])

    def test_json_list_and_directory(self, tmp_path):
        (tmp_path / "a.json").write_text(json.dumps(rows(4)))
        folder = tmp_path / "folder"
        folder.mkdir()
        as_parquet(folder / "train.parquet", rows(4))
        assert len(load_split(Source(path=str(tmp_path / "a.json")), "train")) == 2
        assert len(load_split(Source(path=str(folder)), "train")) == 2

    def test_embedded_set(self):
        found = load_split(Source(path="organism/small/safety"), "train", need=("prompt", "response"))
        held_out = load_split(Source(path="organism/small/safety"), "test")
        assert len(found) > 10
        assert set(found["prompt"]).isdisjoint(held_out["prompt"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ([{"prompt": "a", "response": ""}, {"prompt": "b", "response": "r"}], "empty response, the first is row 0"),
            ([{"prompt": "a", "response": "r"}, {"prompt": None, "response": "r"}], "empty prompt"),
            ([{"prompt": "a", "text": "r"}, {"prompt": "b", "text": "r"}], r"column response is absent .*prompt"),
            ([{"prompt": "a", "response": ["r"]}], "column response holds list.*, not text"),
            ([{"prompt": "a", "response": "r"}], "its test split is empty"),
            ([], "holds no rows"),
        ],
    )
    def test_bad_rows(self, tmp_path, content, message):
        source = Source(path=jsonl(tmp_path / "a.jsonl", content))
        need = ("prompt", "response")
        with pytest.raises(DataError, match=message):
            [load_split(source, split, need=need, field="data.task") for split in ("train", "test")]

    def test_bad_json_names_the_line(self, tmp_path):
        (tmp_path / "a.jsonl").write_text('{"prompt": "a"}\n{"prompt": \n')
        with pytest.raises(DataError, match=r"data\.task: line 2 of .*a\.jsonl is not valid JSON"):
            load_split(Source(path=str(tmp_path / "a.jsonl")), "train", field="data.task")

    @pytest.mark.parametrize("call", ["check", "load"])
    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ({"path": "/nowhere/a.parquet"}, r"data\.task: /nowhere/a.parquet does not exist"),
            ({"path": "/nowhere/folder"}, r"data\.task: /nowhere/folder does not exist"),
            ({"path": "organism/nothing"}, "organism/nothing is not an embedded set; there are: organism/"),
            ({"path": "FILE", "columns": {"answer": "gold"}}, r"gold.*there are: prompt, response, split"),
            (
                {"train": {"path": "FILE", "split": "x"}, "test": {"path": "FILE"}},
                r"data\.task\.train\.split \(x\) matches no row.*the values are: a, b",
            ),
            ({"path": "BROKEN"}, "cannot be read as parquet"),
            ({"path": "EMPTY"}, "holds no rows"),
            ({"path": "PROMPTS"}, "no column response|column response is absent"),
        ],
    )
    def test_bad_sources_are_refused_early_and_late(self, tmp_path, call, source, message):
        files = {
            "FILE": as_parquet(tmp_path / "a.parquet", rows(4, split=lambda n: "ab"[n % 2])),
            "PROMPTS": jsonl(tmp_path / "p.jsonl", [{"prompt": "a"}, {"prompt": "b"}]),
            "BROKEN": str(tmp_path / "broken.parquet"),
            "EMPTY": str(tmp_path / "empty.parquet"),
        }
        (tmp_path / "broken.parquet").write_bytes(b"not parquet at all")
        parquet.write_table(pa.table({"prompt": pa.array([], pa.string())}), files["EMPTY"])
        text = json.dumps(source)
        for name, path in files.items():
            text = text.replace(f'"{name}"', json.dumps(path))
        made = Source.model_validate_json(text)
        refused = check_source if call == "check" else partial(load_split, split="train")
        with pytest.raises(DataError, match=message):
            refused(made, field="data.task", need=("prompt", "response"))

    def test_good_sources_pass_the_check(self, tmp_path):
        path = jsonl(tmp_path / "a.jsonl", rows(4))
        check_source(Source(path=path), field="data.task", need=("prompt", "response"))
        check_source(Source(path="organism/safety"), field="data.safety", need=("prompt", "response"))
        check_source(Source(path="someone/on-the-hub"), field="data.task", need=("prompt",))

    def test_the_check_loads_neither_torch_nor_datasets(self, tmp_path):
        path = as_parquet(tmp_path / "a.parquet", rows(4))
        code = (
            "import sys; from training.config.data import Source; from training.data import check_source;"
            f"check_source(Source(path={path!r}), field='data.task', need=('prompt',));"
            "check_source(Source(path='organism/general'), field='data.task', need=('prompt',));"
            "assert not {'torch', 'datasets', 'transformers'} & set(sys.modules), sys.modules.keys()"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestPlan:
    def plan(self, seed=0, share=0.25, steps=20, lengths=None):
        lengths = np.arange(50) % 13 + 1 if lengths is None else lengths
        return BatchPlan.make(task=40, safety=10, share=share, lengths=lengths, steps=steps, batch_size=8, seed=seed)

    def test_share_of_safety_samples_is_exact(self):
        order, quotas = mix(40, 10, 0.25, 50, 8, seed=0)
        assert (order >= 40).sum() == quotas.sum() == 100
        # Every pass visits each sample once before any repeats.
        assert set(np.bincount(order[order >= 40] - 40)) == {10}
        assert set(np.bincount(order[order < 40])) <= {7, 8}

    @pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
    @pytest.mark.parametrize("count", [None, 7])
    def test_every_batch_has_its_share_of_safety_samples(self, share, count):
        """Grouped by length alone, which safety samples have in common, most batches would have none."""
        lengths = np.concatenate([np.random.default_rng(0).integers(20, 200, 300), np.full(30, 25)])
        share, count = (share, None) if count is None else (0.0, 300 * 7 // 100)
        plan = BatchPlan.make(
            task=300, safety=30, share=share, count=count, lengths=lengths, steps=60, batch_size=16, seed=3
        )
        safety = (plan.steps >= 300).sum(axis=1)
        expected = 16 * (share if count is None else count / (300 + count))
        assert set(safety) <= {math.floor(expected), math.ceil(expected)}
        assert safety.sum() == round(60 * expected)
        # Of a part of the training as well: a warm-up sees as many of them as the rest.
        assert abs(safety[:32].sum() - 32 * expected) <= 1

    def test_the_task_samples_and_their_order_do_not_change_with_the_share_of_safety_samples(self):
        without, some = (mix(40, 10, share, 10, 8, seed=0)[0] for share in (0.0, 0.25))
        assert np.array_equal(some[some < 40], without[: (some < 40).sum()])

    def test_same_seed_same_batches_other_seed_others(self):
        assert np.array_equal(self.plan(1).steps, self.plan(1).steps)
        assert not np.array_equal(self.plan(1).steps, self.plan(2).steps)

    @pytest.mark.parametrize("share", [0.0, 0.25])
    @pytest.mark.parametrize("steps", [1, 7, 20])
    def test_balancing_keeps_every_sample_in_its_window(self, share, steps):
        order, quotas = mix(40, 10, share, steps, 8, seed=0)
        balanced = balance(order, quotas, np.arange(50) % 13 + 1, 8, seed=0)
        for start in range(0, steps, 8):
            assert sorted(balanced[start : start + 8].ravel()) == sorted(order[8 * start : 8 * (start + 8)])

    @pytest.mark.parametrize("packed", [False, True])
    def test_batches_have_similar_numbers_of_tokens_and_little_padding(self, packed):
        """Against batches grouped by length and batches drawn at random, on lengths as instructions have them."""
        draw = np.random.default_rng(0)
        lengths = np.clip(np.exp(draw.normal(4.6, 0.55, 4000)), 20, 512).astype(np.int64)
        order, quotas = mix(3800, 200, 0.05, 120, 32, seed=0)
        drawn = order.reshape(-1, 32)
        drawn = np.take_along_axis(drawn, np.argsort(lengths[drawn], axis=1), axis=1)
        windows = order.reshape(-1, 256)
        grouped = np.take_along_axis(windows, np.argsort(lengths[windows], axis=1), axis=1).reshape(-1, 32)
        balanced = balance(order, quotas, lengths, 32, seed=0)

        def spread(steps):
            tokens = lengths[steps].sum(axis=1)
            return tokens.std() / tokens.mean()

        def computed(steps, micro):
            """Tokens computed with over real ones."""
            parts = steps.reshape(-1, micro)
            if packed:
                rows = [first_fit_decreasing(lengths[part], 512)[0].max() + 1 for part in parts]
                return 512 * sum(rows) / lengths[steps].sum()
            return micro * lengths[parts].max(axis=1).sum() / lengths[steps].sum()

        assert spread(balanced) < 0.05 < 0.5 < spread(grouped)
        if packed:
            assert computed(balanced, 32) < computed(grouped, 32) * 1.01
        else:
            assert computed(balanced, 4) < 1.1
            assert computed(balanced, 32) < 0.8 * computed(drawn, 32)

    def test_ranks_and_accumulation_share_each_global_batch(self):
        plan = self.plan()
        for step in range(20):
            parts = [part for rank in range(2) for part in plan.micro_batches(step, rank, 2, 2)]
            assert all(len(part) == 2 for part in parts)
            assert sorted(np.concatenate(parts)) == sorted(plan.steps[step])

    def test_a_count_joins_that_many_distinct_safety_samples_as_one_data_set(self):
        order, _ = mix(40, 10, 0.0, 46, 10, seed=0, count=6)
        safety = order[order >= 40]
        assert len(safety) == 60  # 6 of 46 in every pass
        assert set(np.unique(safety, return_counts=True)[1]) == {10}
        assert np.array_equal(order, mix(40, 10, 0.0, 46, 10, seed=0, count=6)[0])
        assert (mix(40, 10, 0.0, 40, 10, seed=0, count=0)[0] < 40).all()

    def test_more_safety_samples_than_there_are_is_refused(self):
        with pytest.raises(DataError, match=r"safety_count \(11\) asks for more .*lower it to 10 at most"):
            mix(40, 10, 0.0, 40, 10, seed=0, count=11)

    def test_count_and_share_exclude_each_other(self):
        with pytest.raises(ValidationError, match=r"safety_count \(5\) and safety_share \(0.1\) exclude each other"):
            TrialConfig(safety_count=5, safety_share=0.1)

    def test_missing_samples_are_refused(self):
        with pytest.raises(DataError, match=r"safety_share \(0\.25\)"):
            mix(40, 0, 0.25, 40, 10, seed=0)
        with pytest.raises(DataError, match=r"data\.task"):
            mix(0, 10, 0.25, 40, 10, seed=0)


class TestSamples:
    def test_batch_positions(self, chat_tokenizer):
        samples = Samples.encode(chat_tokenizer, ["bake", "cut grass then"], ["well", "sing songs"], 64)
        batch = samples.collate([1, 0])
        flat = batch.input_ids.flatten()
        assert batch.targets.tolist() == flat[batch.response].tolist()
        assert (batch.predicting == batch.response - 1).all()
        texts = [chat_tokenizer.decode(batch.targets[batch.sample == row]) for row in range(2)]
        assert texts == ["sing songs<|im_end|>", "well<|im_end|>"]
        assert len(batch.targets) == samples.response_lengths.sum()

    def test_joined_samples_are_the_same_samples(self, chat_tokenizer):
        first = Samples.encode(chat_tokenizer, ["bake"], ["well"], 64)
        second = Samples.encode(chat_tokenizer, ["cut grass"], ["then"], 64)
        joined = first + second
        assert joined.collate([1]).input_ids.tolist() == second.collate([0]).input_ids.tolist()
        assert joined.fingerprint != first.fingerprint
