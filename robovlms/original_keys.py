"""Every key of a training configuration of the original RoboVLMs, and what becomes of it here.

A key of a section is written with a dot. A key is in exactly one of three tables: it is translated (`TRANSLATED`),
it plays no part here (`IGNORED`), or it must have the one value that the others stand for (`ONLY`).
"""

from typing import Any

SECTIONS = ("act_head", "train_setup", "tokenizer", "vlm", "trainer")  # objects whose keys mean something here

_UNREAD = "the original does not read it"
_ITS_PATH = "a path of the machine that trained"
_EPOCHS = "counts epochs; how many steps that is depends on the dataset: set train.max_steps and train.warmup_steps"
_OTHER_LOSS = "weight of a loss that is not used"
_DATA = "describes the dataset: set data.path"
_FRAMEWORK = "a setting of the original's training framework"
_OVERWRITTEN = "overwritten by the top-level value, as in the original"

IGNORED: dict[str, str] = {
    **dict.fromkeys(("task_name", "exp_name", "output_root", "log_root", "cache_root"), _ITS_PATH),
    **dict.fromkeys(("model_url", "model_path", "model_load_path", "model_load_source", "resume", "config"), _ITS_PATH),
    **dict.fromkeys(("llava", "llava_config", "qwen", "deepspeed_config"), _ITS_PATH),
    **dict.fromkeys(("model_config", "image_mean", "image_std", "data_scale", "optimizer", "warmup_ratio"), _UNREAD),
    **dict.fromkeys(("use_time_causal_attn", "use_mim_obs_loss", "use_pixel_loss", "use_obs_queries"), _UNREAD),
    **dict.fromkeys(("vision_masked_ratio", "use_tube_mask", "discrete_action_history"), _UNREAD),
    **dict.fromkeys(("cap_loss_ratio", "fwd_loss_ratio", "kl_div_ratio"), _OTHER_LOSS),
    **dict.fromkeys(("clip_norm_ratio", "vl_cotrain_ratio"), _OTHER_LOSS),
    **dict.fromkeys(("train_dataset", "val_dataset", "train_weights"), _DATA),
    "seq_len": "only counts what is logged",
    "x_mean": "regular_action is off",
    "x_std": "regular_action is off",
    "warmup_epochs": _EPOCHS,
    "vision_encoder": "the VLM folder says it",
    "vision_resampler": "the original ignores it: 6 layers, 64 latents, 8 heads of 64",
    "act_head.fwd_pred_next_n": _OVERWRITTEN,
    "act_head.window_size": _OVERWRITTEN,
    "act_head.with_history": _UNREAD,
    "act_head.policy_rnn_dropout_p": "acts in training only; training here has no dropout in the LSTM",
    "train_setup.load_vl_param": "weights come from the checkpoint",
    "train_setup.reinit": "acts before training only",
    "train_setup.lora_bias": "biases stay frozen",
    **{f"train_setup.{name}": _UNREAD for name in (
        "bits", "freeze_mm_mlp_adapter", "tune_mm_mlp_adapter", "mm_use_im_start_end", "mm_use_im_patch_token",
        "mm_projector_lr",
    )},
    "tokenizer.type": "the VLM folder says it",
    "tokenizer.additional_special_tokens": "the VLM's adapter adds them",
    **{f"tokenizer.{name}": _UNREAD for name in (
        "use_local_files", "use_img_start_end", "image_start_token", "image_end_token", "use_act_start_end",
        "action_start_token", "action_end_token", "use_bbox_start_end", "bbox_start_token", "bbox_end_token",
    )},
    "vlm.type": "the VLM folder says it",
    "vlm.name": "robovlm_name says it",
    "vlm.residual": _UNREAD,
    # The keywords of Lightning's Trainer. Source: https://lightning.ai/docs/pytorch/stable/common/trainer.html
    **{f"trainer.{name}": _FRAMEWORK for name in (
        "accelerator", "strategy", "devices", "num_nodes", "logger", "callbacks", "fast_dev_run", "min_epochs",
        "min_steps", "max_time", "limit_train_batches", "limit_val_batches", "limit_test_batches",
        "limit_predict_batches", "overfit_batches", "val_check_interval", "check_val_every_n_epoch",
        "num_sanity_val_steps", "log_every_n_steps", "enable_checkpointing", "enable_progress_bar",
        "enable_model_summary", "deterministic", "benchmark", "inference_mode", "use_distributed_sampler", "profiler",
        "detect_anomaly", "barebones", "plugins", "sync_batchnorm", "reload_dataloaders_every_n_epochs",
        "default_root_dir",
    )},
    "trainer.gradient_clip_algorithm": "gradients are clipped by their global norm",
    "trainer.precision": "train_setup.precision says it",
    "trainer.max_epochs": _EPOCHS,
    "trainer.accumulate_grad_batches": "gradients are not accumulated: choose data.batch_size",
}  # fmt: skip

# Keys whose value must be one of these, because anything else changes the numbers and has no counterpart here.
ONLY: dict[str, tuple[Any, ...]] = {
    "act_encoder": (None,),
    "fwd_head": (None,),
    "use_clip_norm": (False, None),
    "regular_action": (False, None),
    "train_setup.predict_action": (True,),
    "train_setup.predict_forward": (False, None),
    "train_setup.predict_forward_hand": (False, None),
    "train_setup.predict_caption": (False, None),
    "act_head.min_action": (-1, -1.0, None),
    "act_head.max_action": (1, 1.0, None),
}

_RANGE = "data.action_range, and the statistics of the contract"
_TRAINED = "model.train_decoder_layers"
TRANSLATED: dict[str, str] = {
    "robovlm_name": "model.vlm.name",
    "model": "model.vlm.name, where robovlm_name is missing",
    "parent": "the file whose values these are laid over",
    "window_size": "model.window_size",
    "fwd_pred_next_n": "model.fwd_pred_next_n",
    "arm_gripper_loss_ratio": "model.gripper_loss_weight",
    "use_hand_rgb": "data.cameras: wrist, then static",
    "use_vision_resampler": "model.resampler.num_latents",
    "image_size": "size of the images in the checkpoint",
    "norm_action": _RANGE,
    "norm_min": _RANGE,
    "norm_max": _RANGE,
    "use_mu_law": "data.action_mu",
    "mu_val": "data.action_mu, where use_mu_law is on",
    "tcp_rel": "frame of the actions in the contract",
    "seed": "train.seed",
    "batch_size": "data.batch_size; the original's is that of one GPU",
    "num_workers": "data.num_workers",
    "learning_rate": "train.learning_rate",
    "weight_decay": "train.weight_decay; biases, norms and embeddings are not decayed here",
    "warmup_steps": "train.warmup_steps",
    "scheduler": "train.min_lr_scale: constant 1, cosine 0, half-cosine min_lr_scale",
    "min_lr_scale": "train.min_lr_scale, of half-cosine",
    "gradient_clip_val": "train.gradient_clip_norm",
    "act_head.type": "model.head",
    "act_head.history_type": "model.history",
    "act_head.action_space": "model.token_source and model.head",
    "act_head.token_source": "model.token_source",
    "act_head.down_sample": "model.token_source",
    "act_head.latent": "model.latent",
    "act_head.fill_zero": "model.hide_action_tokens",
    "act_head.hidden_size": "model.head_hidden_size",
    "act_head.num_layers": "model.head_num_layers",
    "act_head.n_bin": "model.num_bins",
    "act_head.action_dim": "size of the actions in the contract",
    "train_setup.precision": "train.precision: bf16, else fp32",
    "train_setup.train_vision": "model.freeze_vision",
    "train_setup.train_text_embedding": "model.freeze_text_embedding",
    "train_setup.freeze_resampler": "model.freeze_resampler",
    "train_setup.train_resampler": "model.freeze_resampler, of flamingo",
    "train_setup.freeze_backbone": _TRAINED,
    "train_setup.train_decoder_layers": _TRAINED,
    "train_setup.train_full_decoder": f"{_TRAINED}, of flamingo",
    "train_setup.lora_enable": "model.lora.rank",
    "train_setup.lora_r": "model.lora.rank",
    "train_setup.lora_alpha": "model.lora.alpha",
    "train_setup.lora_dropout": "model.lora.dropout",
    "train_setup.gradient_checkpointing": "model.gradient_checkpointing; the original never switched it on",
    "tokenizer.pretrained_model_name_or_path": "model.tokenizer.pretrained",
    "tokenizer.tokenizer_type": "model.tokenizer.prompt_template",
    "tokenizer.max_text_len": "model.tokenizer.max_text_len; the original cuts longer prompts",
    "vlm.pretrained_model_name_or_path": "model.vlm.pretrained",
    "trainer.gradient_clip_val": "train.gradient_clip_norm, unless the top level has one; the original did not clip",
    "trainer.max_steps": "train.max_steps",
}
KNOWN = frozenset({*TRANSLATED, *IGNORED, *ONLY})
