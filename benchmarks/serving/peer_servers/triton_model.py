"""The model of Triton's Python backend: labels of the rows of every request of a batch."""

import os

import joblib
import numpy as np
import triton_python_backend_utils as triton


class TritonPythonModel:
    """Triton asks for a class of this name."""

    def initialize(self, args):
        """Load the model."""
        self.model = joblib.load(os.environ["MODEL"])

    def execute(self, requests):
        """One call of the model for all requests, whose answers are cut apart again."""
        rows = [triton.get_input_tensor_by_name(request, "input-0").as_numpy() for request in requests]
        labels = self.model.predict(np.concatenate(rows)).astype(np.int64)
        ends = np.cumsum([len(part) for part in rows])[:-1]
        return [triton.InferenceResponse(output_tensors=[triton.Tensor("predict", part)]) for part in np.split(labels.reshape(-1, 1), ends)]
