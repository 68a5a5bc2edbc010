"""The usage that RoboVLMs is known by, line by line, on a tiny model and the small dataset; and every recipe."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from robovlms import BaseRoboVLM, BaseTrainer, GRDataModule, build_vlm, load_config
from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.augment_config import AugmentConfig
from robovlms.config import RunConfig, VLMConfig
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import PolicyError
from robovlms.model.vlm import POLICIES, build_policy
from robovlms.testing.policies import TINY_OVERRIDES, make_inputs
from robovlms.train.datasets import build_data_module

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "configs" / "calvin_finetune").glob("*.yaml"))


def tiny(config: RunConfig, dataset: Path, out: Path, **model: Any) -> RunConfig:
    """The same recipe on a tiny random VLM, two steps long."""
    name = config.model.vlm.name
    vlm = VLMConfig(name=name, overrides=TINY_OVERRIDES.get(name, {}))
    small = {"head_hidden_size": 16, "head_num_layers": 1, "window_size": min(config.model.window_size, 2), **model}
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, vlm=vlm, **small),
        data=dataclasses.replace(
            config.data, path=dataset, batch_size=2, num_workers=0, augment=AugmentConfig(shift_px=1)
        ),
        train=dataclasses.replace(
            config.train, out=out, max_steps=2, warmup_steps=0, device="cpu", precision="fp32", val_every=0
        ),
    )


def test_the_usage_as_written(small_dataset: Path, tmp_path: Path) -> None:
    configs = load_config(ROOT / "configs" / "calvin_finetune" / "roboflamingo_calvin.yaml")
    configs = tiny(configs, small_dataset, tmp_path / "run")
    vlm_config, tokenizer_config = configs.model.vlm, configs.model.tokenizer

    model = build_vlm(vlm_config, tokenizer_config, precision="bf16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with pytest.raises(PolicyError, match="a bare VLM predicts no actions"):
        model.forward(vision_x=None, lang_x=None, mode="inference")

    prepared = build_data_module(configs, model)
    data_module = GRDataModule(
        train_dataset=prepared.train_dataset, val_dataset=prepared.val_dataset, batch_size=2, num_workers=0
    )
    trainer = BaseTrainer(configs, show_progress=False)
    trainer.fit(model, data_module)

    images = torch.randint(0, 256, (1, 2, 3, 32, 32), dtype=torch.uint8)
    text = torch.from_numpy(model.prompt_encoder(tokenizer_config).encode("reach the square"))[None]
    outputs = model.forward(vision_x=images, lang_x=text, mode="inference")
    assert outputs.action_predictions.shape == (1, 2, configs.model.fwd_pred_next_n, 3)
    assert torch.isfinite(outputs.action_predictions).all()
    assert isinstance(model.generate("What do you see?", images[0, 0]), str)
    loaded = BaseRoboVLM.from_pretrained(configs.train.out)
    again = loaded(vision_x=images, lang_x=text, mode="inference").action_predictions
    torch.testing.assert_close(again, outputs.action_predictions, atol=1e-6, rtol=0)


@pytest.mark.parametrize("is_original", [False, True])
def test_discrete_logits_are_decoded_by_the_action_tokenizer(is_original: bool, small_dataset: Path) -> None:
    config = load_config(None, {"model.head": "discrete", "model.num_bins": 16, "model.use_proprio": False}).model
    vlm = VLMConfig(name="kosmos")
    config = dataclasses.replace(config, vlm=vlm, fwd_pred_next_n=2, original_layout=is_original)
    policy = build_policy(config, LeRobotSource(small_dataset).action_space, 0).eval()
    inputs = make_inputs(1)
    with torch.inference_mode():
        outputs = policy(vision_x=inputs.vision_x, lang_x=inputs.lang_x, mode="inference")
    layout = "original" if is_original else "reserved"
    tokenizer = ActionTokenizer(policy.backbone.tokenizer, bins=16, layout=layout)
    ids = outputs.action_logits.argmax(-1)
    values = torch.tensor(tokenizer.decode_token_ids_to_actions(ids.tolist())).view(3, 1, 2, 3)
    torch.testing.assert_close(values[..., :2].float(), outputs.action_predictions[..., :2], atol=1e-6, rtol=0)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_trains_tiny(recipe: Path, small_dataset: Path, tmp_path: Path) -> None:
    assert len(recipe.read_text().splitlines()) <= 30
    config = tiny(load_config(recipe), small_dataset, tmp_path / "run", resampler=small_resampler(recipe))
    backbone = build_vlm(config.model.vlm, config.model.tokenizer)
    policy = BaseTrainer(config, show_progress=False).fit(backbone, build_data_module(config, backbone))
    assert all(torch.isfinite(parameter).all() for parameter in policy.parameters())


def small_resampler(recipe: Path) -> Any:
    """The recipe's resampler with fewer latents, if it has one."""
    resampler = load_config(recipe).model.resampler
    return dataclasses.replace(resampler, num_latents=min(2, resampler.num_latents), depth=1)


def test_there_is_a_recipe_for_every_vlm() -> None:
    assert {load_config(recipe).model.vlm.name for recipe in RECIPES} == set(POLICIES) - {"tiny"}
