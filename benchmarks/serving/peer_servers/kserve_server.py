"""KServe's Python server with one scikit-learn model: ``python kserve_server.py MODEL PORT``."""

import sys

import joblib
from kserve import InferOutput, InferResponse, Model, ModelServer


class Scores(Model):
    """Labels of the rows of a request."""

    def load(self):
        """Load the model."""
        self.model = joblib.load(sys.argv[1])
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):
        """An Open Inference answer."""
        labels = self.model.predict(payload.inputs[0].as_numpy())
        output = InferOutput("predict", [len(labels)], "INT64", labels.tolist())
        return InferResponse(response_id=payload.id or "0", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    model = Scores("m")
    model.load()
    sys.argv = sys.argv[:2]
    ModelServer(http_port=int(__import__("os").environ["PORT"]), enable_grpc=False, access_log_format=None).start([model])
