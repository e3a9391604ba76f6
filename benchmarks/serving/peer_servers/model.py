"""Two models of thirty numbers, fitted with the peer's own scikit-learn: ``python model.py FOLDER``."""

import sys
from pathlib import Path

import joblib
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = Path(sys.argv[1])
rows, labels = make_classification(20_000, 30, n_informative=12, random_state=0)
for name, model in {
    "hgb": HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=31, random_state=0),
    "lr": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
}.items():
    (folder / name).mkdir(parents=True)
    joblib.dump(model.fit(rows, labels), folder / name / "model.joblib")
