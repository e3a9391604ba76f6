"""A training script as a team has it: MLflow and LightGBM, nothing else."""

import lightgbm
import mlflow
import mlflow.lightgbm
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

mlflow.set_experiment("tumours-trees")
mlflow.lightgbm.autolog()

features, target = load_breast_cancer(return_X_y=True, as_frame=True)
x_train, x_valid, y_train, y_valid = train_test_split(features, target, random_state=0)
train = lightgbm.Dataset(x_train, y_train)
valid = lightgbm.Dataset(x_valid, y_valid, reference=train)

with mlflow.start_run(run_name="trees"):
    lightgbm.train(
        {
            "objective": "binary",
            "metric": ["auc", "binary_logloss"],
            "num_leaves": 15,
            "learning_rate": 0.1,
            "verbosity": -1,
            "num_threads": 1,
        },
        train,
        num_boost_round=40,
        valid_sets=[train, valid],
        valid_names=["train", "valid"],
    )
