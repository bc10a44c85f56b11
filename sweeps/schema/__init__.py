"""What a YAML file may say, and how it is loaded and refused."""
