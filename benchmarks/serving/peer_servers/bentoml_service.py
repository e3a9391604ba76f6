"""A BentoML service with one scikit-learn model, its path in ``MODEL``."""

import os

import bentoml
import joblib
import numpy as np


@bentoml.service(workers=1)
class Scores:
    """Labels of the rows of a request."""

    def __init__(self) -> None:
        self.model = joblib.load(os.environ["MODEL"])

    @bentoml.api
    def predict(self, data: np.ndarray) -> np.ndarray:
        """Labels."""
        return self.model.predict(data)
