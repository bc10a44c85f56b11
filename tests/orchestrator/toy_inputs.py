"""A random Llama of two layers, and rows for every file that a specification names."""

import json
from pathlib import Path
from typing import Any

from training.config import DataConfig

WORDS = "please tell me how to bake bread build a house cut grass dig soil sing songs paint walls well then sorry"
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_toy_llama(folder: Path) -> None:
    """A model folder as the Hub has them: random weights, a tokenizer, a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|im_end|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def write_toy_data(data: DataConfig, rows: int = 40) -> None:
    """Rows with every column at every path of ``data``; their prompts name the file, so that none is in two."""
    for source in data.sources.values():
        sides = [(source.path, None)] if source.path else []
        sides += [(side.path, side.split) for side in (source.train, source.test) if side is not None]
        for paths, split in sides:
            for path in [paths] if isinstance(paths, str) else paths or []:
                _write(Path(path), rows, split)


def _write(file: Path, rows: int, split: str | None) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    found: list[dict[str, Any]] = [
        {"prompt": f"{file.stem} tell me {n}", "response": f"well the answer is {n}", "answer": str(n)}
        for n in range(rows)
    ]
    if split is not None:
        found = [{**row, "split": split} for row in found]
    if file.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(found), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in found))
