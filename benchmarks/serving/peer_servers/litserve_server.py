"""LitServe with one scikit-learn model: ``python litserve_server.py MODEL PORT``."""

import sys

import joblib
import litserve
import numpy as np


class Scores(litserve.LitAPI):
    """Labels of the rows of a request."""

    def setup(self, device):
        """Load the model."""
        self.model = joblib.load(sys.argv[1])

    def decode_request(self, request):
        """A matrix from an Open Inference body."""
        tensor = request["inputs"][0]
        return np.array(tensor["data"]).reshape(tensor["shape"])

    def predict(self, rows):
        """Labels."""
        return self.model.predict(rows)

    def encode_response(self, output):
        """A list."""
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    litserve.LitServer(Scores(), accelerator="cpu").run(
        port=int(sys.argv[2]), host="127.0.0.1", log_level="warning", generate_client_file=False
    )
