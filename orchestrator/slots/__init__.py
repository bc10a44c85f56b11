"""Where trials run: Ray, warm slots, the broker between them and Tune's trials."""
