"""A model in hand: found, loaded, adapted, run over prompts, looked into."""
