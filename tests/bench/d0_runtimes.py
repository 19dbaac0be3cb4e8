"""Times one inference of an ONNX graph on all processors of this process.

  d0_runtimes.py onnxruntime|openvino GRAPH.onnx f32|bf16
"""
import json
import os
import sys
import time

import numpy as np

runtime, path, precision = sys.argv[1:4]
threads = len(os.sched_getaffinity(0))
image = np.random.default_rng(1).standard_normal((1, 3, 512, 512)).astype(np.float32)
if runtime == "onnxruntime":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    call = lambda: session.run(None, {"image": image})
else:
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    call = lambda: request.infer({0: image}, share_inputs=True, share_outputs=True)
for _ in range(5):
    call()
seconds = []
cpu = time.process_time()
for _ in range(40):
    start = time.perf_counter()
    call()
    seconds.append(time.perf_counter() - start)
cpu = (time.process_time() - cpu) / len(seconds)
seconds.sort()
print(json.dumps({"best": 1e3 * seconds[0], "median": 1e3 * seconds[len(seconds) // 2],
                  "cpu": 1e3 * cpu}))
