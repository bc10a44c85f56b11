import copy
import json
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from training.config import (
    CausalConfig,
    DataConfig,
    DirectionConfig,
    EvaluationConfig,
    ModelConfig,
    Source,
    TrialConfig,
)
from training.data.chat import encode_prompts
from training.direction.causal import AnswerCheck, CausalReport, LayerCheck, Refusal, layers_text
from training.direction.causal_file import load_report, save_report
from training.direction.causal_scores import check_direction, mean_kl, next_token_log_probabilities, refusal_of
from training.direction.extraction import load_or_extract
from training.direction.prompts import DirectionPrompts, Drawn, draw, draw_prompts, filtered, refusals
from training.direction.recommended import with_recommended_layers
from training.direction.vectors import Direction
from training.errors import DirectionError
from training.evaluation.refusal_odds import refusal_log_odds, refusal_token_ids
from training.models.loading import load_model, load_tokenizer, model_fingerprint
from training.organism.cache import ensure_organism
from training.workbench import Workbench

STRENGTH = CausalConfig(strength=2.0)
"""The smallest embedded model refuses half of the harmless prompts with one separation added, and all with two."""
ANSWERS = AnswerCheck(harmful=1.0, harmless=0.0, ablated=0.0, added=1.0, random_ablated=1.0, random_added=0.0)


def row(layer, log_odds=-3.0, **changes):
    """A layer that passes, with the refusal log-odds that ablation leaves."""
    made = LayerCheck(
        layer=layer,
        separation=1.0,
        ablated=Refusal(0.0, log_odds),
        clamped=Refusal(0.0, -2.0),
        added=Refusal(1.0, 2.0),
        random_added=(Refusal(0.0, -4.0), Refusal(0.1, -3.0)),
        kl=0.05,
    )
    return replace(made, **changes)


def report_of(*rows, answers=None, **changes):
    made = CausalReport(
        layers=rows,
        harmful=Refusal(1.0, 3.0),
        harmless=Refusal(0.0, -5.0),
        random_ablated=(Refusal(1.0, 3.0), Refusal(0.9, 2.0)),
        answers=dict.fromkeys(range(len(rows)), ANSWERS) if answers is None else answers,
        limits=CausalConfig(),
        prompts=(32, 32),
        direction="d",
    )
    return replace(made, **changes)


class TestVerdict:
    def test_every_effect_is_asked_for(self):
        faults = {
            "ablation": {"ablated": Refusal(0.2, -1.0)},
            "addition": {"added": Refusal(0.8, 1.0)},
            "random addition": {"random_added": (Refusal(0.0, -4.0), Refusal(0.2, 0.0))},
            "KL": {"kl": 0.2},
        }
        assert report_of(row(0)).faults(0) == []
        for check, change in faults.items():
            report = report_of(row(0, **change))
            assert [fault.check for fault in report.faults(0)] == [check]
            assert not report.passes
            assert report.faults(0)[0].text in report.sentence

    def test_ablating_a_random_direction_must_not_lower_refusal(self):
        report = report_of(row(0), random_ablated=(Refusal(1.0, 3.0), Refusal(0.75, 1.0)))
        assert [fault.check for fault in report.faults(0)] == ["random ablation"]

    def test_the_limits_are_settings(self):
        strict = CausalConfig(refusal_below=0.05, refusal_above=0.95, random_change=0.05, kl_below=0.01)
        lenient = row(0, ablated=Refusal(0.1, -3.0), added=Refusal(0.9, 1.0))
        assert report_of(lenient).passes
        found = [fault.check for fault in report_of(lenient, limits=strict).faults(0)]
        assert found == ["ablation", "addition", "random ablation", "random addition", "KL"]

    def test_answers_can_contradict_the_next_token(self):
        mute = replace(ANSWERS, ablated=0.9)
        report = report_of(row(0), row(1, -2.0), answers={0: mute, 1: ANSWERS})
        assert [fault.check for fault in report.faults(0)] == ["ablation by answers"]
        assert (report.best, report.band) == (1, (1,))
        assert not report_of(row(0), answers={}).passes, "no layer is best before its answers were read"

    def test_a_model_whose_refusals_cannot_be_read_passes_nothing(self):
        report = report_of(row(0), harmful=Refusal(0.5, 0.0))
        assert not report.passes
        assert "a refusal opens on 50% of the harmful and 0% of the harmless prompts" in report.sentence

    def test_the_band_is_contiguous_and_close_to_the_best(self):
        # The best lowers the log-odds from 3 to -7, by 10; 80 % of that is down to -5.
        rows = row(0, -6), row(1, 0.0), row(2, -5.5), row(3, -7), row(4, -5.1), row(5, -4.9), row(6, -6)
        assert (report_of(*rows).best, report_of(*rows).band) == (3, (2, 3, 4))
        narrow = report_of(*rows, limits=CausalConfig(band_margin=0.0))
        assert narrow.band == (3,)
        wide = report_of(*rows, limits=CausalConfig(band_margin=0.9))
        assert wide.band == tuple(range(7))
        broken = report_of(*rows[:4], replace(rows[4], kl=1.0), *rows[5:], limits=CausalConfig(band_margin=0.9))
        assert broken.band == (0, 1, 2, 3)
        assert [layers_text(band) for band in ((), (3,), (2, 3, 4))] == ["-", "3", "2-4"]

    def test_saved_and_read_again(self, tmp_path):
        report = report_of(row(0, -6), row(1, kl=1.0))
        save_report(report, tmp_path)
        assert load_report(tmp_path, expected_direction="d").as_json() == report.as_json()
        saved = json.loads((tmp_path / "causal.json").read_text())
        assert (saved["passes"], saved["band"], saved["layers"][0]["faults"]) == (True, [0], [])
        with pytest.raises(DirectionError, match="another direction"):
            load_report(tmp_path, expected_direction="e")
        (tmp_path / "causal.json").write_text("{}")
        with pytest.raises(DirectionError, match="no readable causal report"):
            load_report(tmp_path, expected_direction="d")


class TestRecommended:
    TRIAL = TrialConfig.model_validate({"constraint": {"layers": "recommended"}})

    def test_the_band_takes_its_place(self):
        report = report_of(row(0, -6), row(1, -6.5))
        assert with_recommended_layers(self.TRIAL, report, "m").constraint.layers == [0, 1]
        frozen = TrialConfig.model_validate({"constraint": {"type": "freeze_layers", "layers": "recommended"}})
        assert with_recommended_layers(frozen, report, "m").constraint.layers == [0, 1]
        other = TrialConfig.model_validate({"constraint": {"layers": "1-2"}})
        assert with_recommended_layers(other, report, "m") is other

    @pytest.mark.parametrize("report", [None, report_of(row(0, kl=1.0))])
    def test_there_is_none_without_a_passing_report(self, report):
        with pytest.raises(DirectionError, match=r"recommended.* names no layers of m, because"):
            with_recommended_layers(self.TRIAL, report, "m")


class TestDraw:
    POOL = tuple(f"prompt {number}" for number in range(200))

    def test_two_disjoint_draws_that_the_seed_decides(self):
        config = DirectionConfig(prompts=100, held_out=30)
        drawn = draw(self.POOL, config, "harmful")
        assert (len(drawn.extraction), len(drawn.held_out)) == (100, 30)
        assert not set(drawn.extraction) & set(drawn.held_out)
        assert draw(self.POOL, config, "harmful") == drawn
        assert draw(self.POOL, config.model_copy(update={"seed": 1}), "harmful") != drawn

    def test_what_is_held_out_of_a_small_split(self):
        config = DirectionConfig(prompts=100, held_out=30)
        assert [len(part) for part in parts(draw(self.POOL[:120], config, "harmless"))] == [90, 30]
        assert [len(part) for part in parts(draw(self.POOL[:40], config, "harmless"))] == [30, 10]
        unchecked = config.model_copy(update={"causal": None})
        assert [len(part) for part in parts(draw(self.POOL[:40], unchecked, "harmless"))] == [40, 0]

    def test_settings_out_of_range_are_refused(self):
        for settings in ({"held_out": 1}, {"filter_tokens": 0}, {"causal": {"refusal_below": 2}}, {"on_failure": "no"}):
            with pytest.raises(ValidationError):
                DirectionConfig.model_validate(settings)


def parts(drawn):
    return drawn.extraction, drawn.held_out


class Organism:
    """The small embedded model, its tokenizer and its data."""

    def __init__(self):
        self.path = ensure_organism(ModelConfig(name="small", path="organism/small"))
        self.model, self.tokenizer = load_model(self.path), load_tokenizer(self.path)
        names = {"task": "general", "safety": "safety", "harmful": "harmful"}
        names |= {"harmless": "harmless", "borderline": "borderline"}
        self.data = DataConfig.model_validate({key: {"path": f"organism/small/{name}"} for key, name in names.items()})
        self.prompts = draw_prompts(self.data, DirectionConfig())

    def extraction(self, directory, config, model=None):
        return load_or_extract(
            model or self.model,
            self.tokenizer,
            self.data,
            config,
            directory,
            model_fingerprint=model_fingerprint(model or self.model),
            say=lambda _text: None,
        )

    def bench(self, directory, **direction):
        few = EvaluationConfig(harmful=4, harmless=4, borderline=4, task=4, max_new_tokens=3)
        config = DirectionConfig.model_validate(direction)
        return Workbench(self.path, self.data, config, few, directory, name="small")


def about_the_direction(bench):
    """The warnings of ``bench``, less those about the few prompts it measures on."""
    return [warning for warning in bench.warnings if "direction" in warning]


@pytest.fixture(scope="module")
def organism():
    return Organism()


@pytest.fixture(scope="module")
def extraction(organism, tmp_path_factory):
    directory = tmp_path_factory.mktemp("direction") / "small"
    return directory, organism.extraction(directory, DirectionConfig(causal=STRENGTH))


class TestOnTheOrganism:
    def test_the_direction_causes_refusal_and_random_ones_do_not(self, extraction):
        report = extraction[1].causal
        assert report.passes, report.sentence
        assert report.best in report.band
        best, spoken = report.layers[report.best], report.answers[report.best]
        assert best.ablated.share < 0.2
        assert best.clamped.share < 0.2
        assert spoken.ablated < 0.2
        assert best.added.share > 0.8
        assert spoken.added > 0.8
        assert best.kl < 0.2
        for one in report.random_ablated:
            assert one.share > 0.8
        for one in best.random_added:
            assert one.share < 0.2
        assert (spoken.random_ablated, spoken.random_added) == pytest.approx((1, 0), abs=0.2)

    def test_random_vectors_in_its_place_are_reported_as_failing(self, organism, extraction):
        real, kept = extraction[1].direction, extraction[1].prompts
        noise = torch.randn(real.unit.shape, generator=torch.Generator().manual_seed(5))
        junk = Direction(torch.nn.functional.normalize(noise, dim=-1), real.separation, real.site, real.model, 9, 9)
        config = DirectionConfig(causal=STRENGTH.model_copy(update={"random_directions": 2}))
        report = check_direction(
            organism.model, organism.tokenizer, junk, kept.harmful.held_out, kept.harmless.held_out, config
        )
        assert not report.passes
        assert report.band == ()
        assert len(report.random_ablated) == len(report.layers[0].random_added) == 2
        for layer in range(junk.layers):
            assert "ablation" in [fault.check for fault in report.faults(layer)]
        assert "fails its causal check at every layer" in report.sentence

    def test_a_model_that_refuses_nothing_is_reported_as_failing(self, organism, tmp_path):
        torch.manual_seed(0)
        blank = type(organism.model)(organism.model.config).eval()
        report = organism.extraction(tmp_path / "blank", DirectionConfig(filter=False), blank).causal
        assert not report.passes
        assert "does not tell the untouched model's refusals from its answers" in report.sentence
        with pytest.raises(DirectionError, match=r"refuses only \d+ of the 128 harmful prompts of direction\.prompts"):
            organism.extraction(tmp_path / "filtered", DirectionConfig(), blank)

    def test_the_filter_drops_what_is_on_the_wrong_side(self, organism):
        harmful, harmless = organism.prompts.harmful.extraction[:40], organism.prompts.harmless.extraction[:40]
        verdicts = refusals(organism.model, organism.tokenizer, harmful + harmless, 24)
        refused = [p for p, verdict in zip(harmful + harmless, verdicts, strict=True) if verdict]
        answered = [p for p in harmful + harmless if p not in refused]
        mixed = DirectionPrompts(
            Drawn((*refused[:20], *answered[:3]), (*refused[20:24], answered[3])),
            Drawn((*answered[4:24], *refused[24:29]), (*answered[24:28], refused[29])),
        )
        kept = filtered(organism.model, organism.tokenizer, mixed, DirectionConfig())
        assert kept.harmful == Drawn(tuple(refused[:20]), tuple(refused[20:24]), 3, 1)
        assert kept.harmless == Drawn(tuple(answered[4:24]), tuple(answered[24:28]), 5, 1)

    def test_the_number_of_dropped_prompts_is_kept_with_the_direction(self, organism, extraction):
        directory, found = extraction
        metadata = json.loads((directory / "direction.json").read_text())
        for side in ("harmful", "harmless"):
            drawn, kept = getattr(organism.prompts, side), getattr(found.prompts, side)
            assert metadata[f"dropped_{side}"] == kept.dropped == len(drawn.extraction) - len(kept.extraction)
            assert metadata[f"{side}_prompts"] == len(kept.extraction)
        assert all(
            prompt not in (directory / "prompts.json").read_text() for prompt in found.prompts.harmful.extraction
        )

    def test_what_is_saved_is_read_instead_of_measured_again(self, organism, extraction):
        directory, found = extraction

        def read(tokenizer):
            return load_or_extract(
                None,
                tokenizer,
                organism.data,
                DirectionConfig(causal=STRENGTH),
                directory,
                model_fingerprint=found.direction.model,
                say=lambda _text: None,
            )

        again = read(organism.tokenizer)
        assert again.direction.fingerprint == found.direction.fingerprint
        assert again.prompts == found.prompts
        assert again.causal.as_json() == found.causal.as_json()
        with pytest.raises(DirectionError, match=r"data\.harmful or the settings of the direction changed"):
            organism.extraction(directory, DirectionConfig(causal=STRENGTH, seed=1))
        other = copy.deepcopy(organism.tokenizer)
        other.chat_template = f"Monday {other.chat_template}"
        with pytest.raises(DirectionError, match="the chat template or its arguments"):
            read(other)
        saved = json.loads((directory / "prompts.json").read_text())
        (directory / "prompts.json").write_text(json.dumps({side: saved[side] for side in ("harmful", "harmless")}))
        assert read(other).prompts == found.prompts, "folders of older versions do not tell"
        (directory / "prompts.json").write_text(json.dumps(saved))

    def test_a_failing_direction_warns_or_refuses(self, organism, tmp_path):
        weak = {"causal": {"strength": 0.1}}
        said = []
        warned = organism.bench(tmp_path, **weak)
        warned.prepare(said.append)
        (warning,) = about_the_direction(warned)
        assert "small: the direction fails its causal check" in warning
        assert any(warning in line for line in said)
        recommended = TrialConfig.model_validate({"constraint": {"layers": "recommended"}})
        with pytest.raises(DirectionError, match="names no layers of small"):
            warned.run(recommended, lambda _report: False)
        with pytest.raises(DirectionError, match=r"direction\.on_failure"):
            organism.bench(tmp_path, **weak, on_failure="refuse").prepare()

    def test_a_trial_holds_the_recommended_layers(self, organism, tmp_path):
        bench = organism.bench(tmp_path, causal={"strength": 2.0})
        bench.prepare()
        assert about_the_direction(bench) == []
        band = list(bench.causal.band)

        def penalties(layers):
            settings = {
                "steps": 4,
                "batch_size": 8,
                "learning_rate": 3e-3,
                "max_length": 96,
                "log_every": 1,
                "constraint": {"alpha": 1.0, "layers": layers},
                "deepspeed": {"zero_stage": 0},
            }
            found = []

            def on_step(report):
                found.append(report.scores.metrics["train/penalty"])
                return False

            bench.run(TrialConfig.model_validate(settings), on_step)
            return found

        recommended = penalties("recommended")
        assert recommended == penalties(band)
        assert recommended != penalties("all")

    def test_without_a_check_nothing_is_recommended_and_nothing_said(self, organism, tmp_path):
        bench = organism.bench(tmp_path, causal=None)
        bench.prepare()
        assert bench.causal is None
        assert about_the_direction(bench) == []
        assert not (tmp_path / "directions" / "small" / "causal.json").exists()


class TestScores:
    def test_refusal_is_read_off_the_next_token(self, organism):
        prompts = encode_prompts(organism.tokenizer, organism.prompts.harmful.held_out[:6])
        prompts += encode_prompts(organism.tokenizer, organism.prompts.harmless.held_out[:6])
        tokens = refusal_token_ids(organism.tokenizer)
        log_probabilities = next_token_log_probabilities(organism.model, prompts, batch_size=5)
        found = refusal_of(log_probabilities, tokens)
        expected = refusal_log_odds(organism.model, prompts, tokens)
        assert found.log_odds == pytest.approx(sum(expected) / len(expected), abs=1e-4)
        assert found.share == sum(int(row.argmax()) in tokens for row in log_probabilities) / 12
        assert 0 < found.share < 1

    def test_divergence_in_closed_form(self):
        usual, changed = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log(), torch.tensor([[0.25, 0.75], [0.9, 0.1]]).log()
        first = 0.5 * torch.tensor(2.0).log() + 0.5 * torch.tensor(2 / 3).log()
        assert mean_kl(usual, changed) == pytest.approx(float(first) / 2, abs=1e-6)


def test_a_source_too_small_to_hold_anything_out_is_named(organism, tmp_path):
    (tmp_path / "one.jsonl").write_text(
        "".join(json.dumps({"prompt": f"How to make a bomb {n}?", "split": "train"}) + "\n" for n in range(3))
        + json.dumps({"prompt": "x", "split": "test"})
    )
    tiny = organism.data.model_copy(update={"harmful": Source(path=str(tmp_path / "one.jsonl"))})
    with pytest.raises(DirectionError, match=r"data\.harmful has no train prompts left to check"):
        load_or_extract(
            organism.model,
            organism.tokenizer,
            tiny,
            DirectionConfig(filter=False),
            tmp_path / "out",
            model_fingerprint="m",
            say=lambda _text: None,
        )
