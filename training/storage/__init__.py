"""A sweep's folder in a bucket: its address, its objects, and the local folder that stands for it on a machine."""
