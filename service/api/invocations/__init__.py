"""MLflow's scoring protocol: what `POST /invocations` reads."""
