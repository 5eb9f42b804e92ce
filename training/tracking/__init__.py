"""What MLflow keeps of a model: runs, versions and their files."""
