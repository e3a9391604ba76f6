"""Starts the Triton server of the wheel with one Python model: ``python triton_start.py MODEL PORT FOLDER``."""

import os
import shutil
import sys
from pathlib import Path

import pytriton

CONFIG = """
name: "m"
backend: "python"
max_batch_size: 4096
dynamic_batching {}
input [ { name: "input-0" data_type: TYPE_FP64 dims: [ 30 ] } ]
output [ { name: "predict" data_type: TYPE_INT64 dims: [ 1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""

model, port, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
home = Path(pytriton.__file__).parent / "tritonserver"
place = folder / "m" / "1"
place.mkdir(parents=True, exist_ok=True)
(folder / "m" / "config.pbtxt").write_text(CONFIG)
shutil.copy(Path(__file__).parent / "triton_model.py", place / "model.py")
stub = home / "python_backend_stubs" / f"{sys.version_info[0]}.{sys.version_info[1]}" / "triton_python_backend_stub"
shutil.copy(stub, home / "backends" / "python")  # where the server looks for it
libraries = ":".join(
    str(path) for path in [home / "external_libs", home / "lib", Path(pytriton.__file__).parent.parent / "nvidia_pytriton.libs"]
)
os.environ["LD_LIBRARY_PATH"] = libraries
os.environ["MODEL"] = model
os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
binary = str(home / "bin" / "tritonserver")
ports = ["--http-port", str(port), "--grpc-port", str(port + 1), "--metrics-port", str(port + 2), "--http-address", "127.0.0.1"]
os.execv(binary, [binary, "--model-repository", str(folder), "--backend-directory", str(home / "backends"), *ports])
