"""PyTriton, which puts a Triton server before a Python function, with one scikit-learn model: ``python pytriton_server.py MODEL PORT``."""

import sys

import joblib
import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

model, port = joblib.load(sys.argv[1]), int(sys.argv[2])


@batch
def labels(**inputs):
    """Labels of the rows of every request of a batch, which PyTriton has put together."""
    return {"predict": model.predict(inputs["input-0"]).astype(np.int64).reshape(-1, 1)}


if __name__ == "__main__":
    config = TritonConfig(http_port=port, grpc_port=port + 1, metrics_port=port + 2, http_address="127.0.0.1")
    with Triton(config=config) as triton:
        triton.bind(
            model_name="m", infer_func=labels, inputs=[Tensor(name="input-0", dtype=np.float64, shape=(30,))],
            outputs=[Tensor(name="predict", dtype=np.int64, shape=(1,))], config=ModelConfig(max_batch_size=4096),
        )  # fmt: skip
        triton.serve()
