"""The refusal direction: prompts, extraction, causal check, recommended layers, drift."""
