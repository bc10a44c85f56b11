"""Whether a model's chat template prints the date, so that its prompts are of one day."""

from training.config import ModelConfig


def prints_date(model: ModelConfig) -> bool:
    """Whether the chat template of ``model`` asks for the date.

    Not of an embedded model, nor of one whose tokenizer is not on this machine: nothing is downloaded to know it.
    """
    if model.embedded:
        return False
    from transformers import AutoTokenizer

    try:
        template = AutoTokenizer.from_pretrained(model.path, local_files_only=True).chat_template
    except Exception:  # whatever is wrong with it is said where it is loaded to be used
        return False
    return "strftime_now" in str(template)
