"""What ``front.json`` holds: frozen models that are written and read, and the JSON schema made of them. Pure."""
