"""Generators from their configuration."""

from pathlib import Path

from training.config.generator import Generator as GeneratorConfig
from training.config.generator import VllmGenerator
from training.evaluation.generators.base import Generator
from training.evaluation.generators.vllm import Save, VllmReplies


def build_generator(config: GeneratorConfig, directory: Path, save: Save) -> Generator | None:
    """The generator of ``config``, which asks nobody yet; None where the model in training answers itself.

    Args:
        config: which one.
        directory: where adapters lie while they are served, unless ``config`` names another folder.
        save: writes the adapters of a model to a folder, in PEFT's format; all ranks call it.
    """
    if not isinstance(config, VllmGenerator):
        return None
    return VllmReplies(config, Path(config.adapter_dir) if config.adapter_dir else directory.absolute(), save)
