"""Pictures of the front and of drift: data first, then drawing."""
