"""A training script as a team has it: MLflow and scikit-learn, nothing else."""

import mlflow
import mlflow.sklearn
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

mlflow.set_experiment("tumours-linear")
mlflow.sklearn.autolog(log_models=False)

features, target = load_breast_cancer(return_X_y=True, as_frame=True)
x_train, x_test, y_train, y_test = train_test_split(features, target, random_state=0)

with mlflow.start_run(run_name="logistic"):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.5))
    model.fit(x_train, y_train)
    mlflow.log_metric("test_auc", roc_auc_score(y_test, model.predict_proba(x_test)[:, 1]))

    scale = model[0].transform
    by_epoch = SGDClassifier(loss="log_loss", alpha=0.01, random_state=0)
    for epoch in range(20):
        by_epoch.partial_fit(scale(x_train), y_train, classes=np.array([0, 1]))
        mlflow.log_metric("epoch_loss", log_loss(y_test, by_epoch.predict_proba(scale(x_test))), step=epoch)

    mlflow.set_tag("team", "risk <b>group</b>")
    mlflow.log_table({"feature": ["radius", "texture"], "weight": [0.5, 0.25]}, "weights.json")
    mlflow.sklearn.log_model(
        model, name="model", input_example=x_test.head(3), registered_model_name="tumours", pip_requirements=["scikit-learn"]
    )
