"""The card: what it says, and that nothing but its template makes markup of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from memshield.audit.report import Memorization, Report
from memshield.errors import UserError
from memshield.hub.card import escape, loading_code, metadata_of, write_card
from memshield.hub.catalog.license import License
from memshield.hub.manifest import NAME, Base, Dataset, Manifest, Training
from tests.audit.reports import report_of
from tests.hub.claims import manifest_of

HOSTILE = [
    "](https://evil.example) [x",
    "<script>alert(1)</script>",
    "a | b\n\n# heading\n- item",
    "{{ 1111 * 9 }} {% raw %} `code` ~~~ ![x](y)",
    "---\nlicense: mit\n---",
]


def front(card: str) -> dict[str, Any]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_a_card_with_an_audit() -> None:
    manifest = manifest_of(beside={"base": report_of(-0.01, 0.9), "plain": report_of(0.4, 0.4)})
    card = write_card(manifest, "ada/lora")
    assert 'DiffusionPipeline.from_pretrained("lab/tiny-sd", revision="0123456789abcdef' in card
    assert 'load_lora_weights("ada/lora")' in card
    assert "10 steps at 512 px. Against memorization:" in card
    assert "- The pictures are split into 4 shards;" in card
    assert "averaged in 2 rounds" in card
    assert "under 0.8 times the mean loss" in card
    assert "of the draws are" not in card.split("Against memorization:")[1].split("<details>")[0]
    assert "| this model | 11 % | 1.0 % | 10 % | 7.0 % to 13 % |" in card
    assert re.search(r"\| base \|.*\n\| plain \| 41 % ", card)
    assert "not differential privacy" in card
    assert "bibtex" in card
    data = front(card)
    assert data["base_model_relation"] == "adapter"
    assert data["pipeline_tag"] == "text-to-image"
    assert {"memshield", "lora", "memorization-audit"} <= set(data["tags"])
    results = ModelCard(card).data.get("eval_results")
    assert results is not None
    found = {result.metric_type: result.metric_value for result in results}
    assert found["memorization_excess"] == 0.1
    assert found["kid"] == 0.5


def test_a_card_says_that_pictures_kept_their_shapes() -> None:
    training = manifest_of().training
    settings = {**training.settings, "aspect_ratio_buckets": "512,512;640,384"}
    training = training.model_copy(update={"settings": settings})
    card = write_card(manifest_of(training=training), "ada/lora")
    assert "10 steps at 512 px, in aspect buckets. Against memorization:" in card
    assert "| `aspect_ratio_buckets` | 512,512;640,384 |" in card
    assert "aspect buckets" not in write_card(manifest_of(), "ada/lora")


def test_a_card_says_what_is_recommended_otherwise() -> None:
    training = manifest_of().training
    pixels = manifest_of(text=False, pipeline_class="DDPMPipeline", base=None)
    few = write_card(pixels, "ada/new")
    assert "recommend other settings" in few and "Shards hold 25 pictures each" in few
    assert "a tenth of the draws at low noise" in few
    assert "is seen" not in few and "With captions" not in few
    assert "Shards hold" not in write_card(manifest_of(), "ada/lora")

    def told(**changes: Any) -> str:
        settings = {"num_shards": 1, "num_rounds": 1, "skip_threshold": 0.0,
                    "timestep_bias_share": 0.8, **changes}  # fmt: skip
        longer = training.model_copy(update={"settings": settings, "steps": 10_000})
        return write_card(manifest_of(training=longer), "ada/lora")

    assert "recommend other settings" not in told()
    for share, words in ((None, "copies are learned at high noise"), (0.1, "gave more back")):
        assert words in told(timestep_bias_share=share)
    many = {"train_batch_size": 2, "gradient_accumulation_steps": 2}
    assert "Every picture is seen 400 times" in told(**many)
    for budget in (0.02, 0.0):
        assert "recommend other settings" not in told(**many, memorization_budget=budget)
    # Settings of a stranger.
    for strange in ("2", True, -1, 10**400, None, [4]):
        assert "is seen" not in told(train_batch_size=strange)
    for odd in ("0.1", True, -1, 10**400, [4], float("nan")):
        assert "With captions" not in told(timestep_bias_share=odd)
    assert "With captions" not in told(timestep_bias_share=0.1, timestep_bias_level=9)


def test_a_full_model_from_scratch_and_without_an_audit() -> None:
    training = Training(
        kind="full", resolution=8, pictures=10, steps=2,
        settings={"num_shards": 1, "num_rounds": 1, "skip_threshold": 0.0},
    )  # fmt: skip
    manifest = manifest_of(
        training=training, audit=None, base=None, text=False, pipeline_class="DDPMPipeline",
        dataset=Dataset(name=None, revision=None, on_hub=False), license=None,
    )  # fmt: skip
    card = write_card(manifest, "ada/digits")
    assert "Not audited" in card
    assert "by plain training, without mitigation" in card
    assert "no sample is skipped. Here: 2 steps at 8 px." in card
    assert "IET-AGC" not in card.split("```bibtex")[0]
    assert "a dataset that is withheld" in card
    assert 'DDIMPipeline.from_pretrained("ada/digits")' in card
    data = front(card)
    assert (data["license"], data["license_name"]) == ("other", "unknown")
    assert not {"datasets", "base_model", "model-index"} & data.keys()


def test_a_base_that_is_withheld() -> None:
    card = write_card(manifest_of(base=Base(name=None, revision=None)), "ada/lora")
    assert 'from_pretrained("the base pipeline")' in card
    assert "base_model" not in front(card)


@pytest.mark.parametrize("text", HOSTILE)
def test_names_stay_names(text: str) -> None:
    report = report_of(0.1, 0.5)
    headline = report.headline.model_copy(update={"space": text, "statistic": text})
    report = report.model_copy(
        update={
            "memorization": (headline,),
            "limits": (text,),
            "verdict": text,
        }
    )
    training = Training(
        kind="full", resolution=8, pictures=1, steps=1,
        settings={"num_shards": 4, "num_rounds": 1, "skip_threshold": 0.5, "lr_scheduler": text},
    )  # fmt: skip
    usual = write_card(manifest_of(training=training), "ada/lora").split("---\n", 2)[2]
    card = write_card(
        manifest_of(audit=report, training=training, license=License("mit", text, text)),
        "ada/lora",
    )
    body = card.split("---\n", 2)[2]
    for markup in ("\n# heading", "\n- item", "<script>", "](https://evil", "![x](y)", "\n---"):
        unescaped = rf"(?<!\\){re.escape(markup)}"
        assert len(re.findall(unescaped, body)) == len(re.findall(unescaped, usual)), markup
    assert "9999" not in body
    assert front(card)["license"] == "mit"


@pytest.mark.parametrize("text", HOSTILE)
def test_escaping_keeps_to_one_line(text: str) -> None:
    escaped = escape(text)
    assert "\n" not in escaped
    assert not re.search(r"(?<!\\)[<>`|\[\]#]", escaped)


def test_a_revision_is_put_into_code_only_if_it_is_a_commit() -> None:
    base = Base(name="lab/tiny-sd", revision='main"); import os; ("')
    assert "import os" not in write_card(manifest_of(base=base), "ada/lora")


def test_the_code_that_people_copy_is_made_of_nobodys_names() -> None:
    usual = loading_code(manifest_of(), "ada/lora")
    name = "x\n\n```python\nimport os; os.system('id')\n```\n"
    changed = manifest_of(dataset=Dataset(name=name, revision=None, on_hub=True))
    assert loading_code(changed, "ada/lora") == usual
    changed = manifest_of(gallery=(name,))
    assert loading_code(changed, "ada/lora") == usual


@pytest.mark.parametrize(
    ("pipeline_class", "trained", "said"),
    [
        ("StableDiffusion3Pipeline", 77, '("a prompt", max_sequence_length=77)'),
        ("StableDiffusion3Pipeline", 256, '("a prompt")'),
        ("FluxPipeline", 128, '("a prompt", max_sequence_length=128)'),
        ("FluxPipeline", 513, '("a prompt")'),
        ("FluxPipeline", "1); import os; (", '("a prompt")'),
        ("StableDiffusionPipeline", 77, '("a prompt")'),
    ],
)
def test_prompts_are_taken_as_in_training(pipeline_class: str, trained: Any, said: str) -> None:
    manifest = manifest_of(pipeline_class=pipeline_class)
    settings = {**manifest.training.settings, "max_sequence_length": trained}
    training = manifest.training.model_copy(update={"settings": settings})
    code = loading_code(manifest.model_copy(update={"training": training}), "ada/lora")
    assert f"image = pipeline{said}.images[0]" in code


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"memshield": "\ud800"}, "a text that is none"),
        ({"confirmed": ["\ud800"]}, "a text that is none"),
        ({"training": {"steps": 10**400}}, "a number that is none"),
        ({"training": {"settings": {}}}, "lacks num_shards"),
        ({"training": {"settings": {"num_shards": 1, "num_rounds": 1,
                                    "skip_threshold": float("inf")}}}, "a number that is none"),
    ],
)  # fmt: skip
def test_claims_that_cannot_be_shown_are_no_claims(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    values = manifest_of().model_dump(mode="json")
    for name, value in changes.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    (tmp_path / NAME).write_text(json.dumps(values))
    with pytest.raises(UserError, match=words):
        Manifest.read(tmp_path / NAME)


def test_an_audit_that_cannot_say() -> None:
    report = report_of(None, 0.5)
    card = write_card(manifest_of(audit=report), "ada/lora")
    assert "| this model | cannot say |" in card
    assert "memorization_excess" not in card


def test_claims_are_read_back(tmp_path: Path) -> None:
    manifest = manifest_of(beside={"plain": report_of(0.4, 0.4)}, gallery=("samples/0.png",))
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path / NAME) == manifest
    assert manifest.tag == Manifest.read(tmp_path / NAME).tag
    assert manifest.tag != manifest_of().tag
    assert (
        metadata_of(manifest, "x").to_dict()
        == metadata_of(Manifest.read(tmp_path / NAME), "x").to_dict()
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ('{"version": 9}', "is of version 9"),
        ('{"version": 1}', "is not valid: memshield"),
        ("[]", "is not valid"),
        ('{"version": 1, "files": {}}', "is not valid"),
    ],
)
def test_claims_that_cannot_be_read(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(UserError, match=words):
        Manifest.read(tmp_path / NAME)
    with pytest.raises(UserError, match="cannot be read"):
        Manifest.read(tmp_path / "nothing")


def test_reports_keep_their_type() -> None:
    assert isinstance(manifest_of().audit, Report)
    assert isinstance(manifest_of().audit.headline, Memorization)  # type: ignore[union-attr]
