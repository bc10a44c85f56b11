"""The journal in MLflow, on a thread of its own, through outages and resumes."""
