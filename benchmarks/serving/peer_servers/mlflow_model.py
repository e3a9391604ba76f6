"""Writes a model as MLflow serves it, with or without a signature: ``python mlflow_model.py MODEL FOLDER [signature]``."""

import sys

import joblib
import mlflow.sklearn
import numpy as np
import pandas as pd

model = joblib.load(sys.argv[1])
rows = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 30)), columns=[f"f{i}" for i in range(30)])
signature = mlflow.models.infer_signature(rows, model.predict(rows.to_numpy())) if len(sys.argv) > 3 else None
mlflow.sklearn.save_model(model, sys.argv[2], signature=signature, serialization_format="cloudpickle")
