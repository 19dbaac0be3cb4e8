"""Writes a graph of EfficientDet-D0's inference network at 512x512 with random weights as ONNX: batch norm
folded into biases, the fusion weights' quotients into constants, as every runtime would do first.

  make_d0_onnx.py OUT.onnx
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(1)
nodes, weights, count = [], [], [0]


def name():
    count[0] += 1
    return f"v{count[0]}"


def constant(array):
    key = name()
    weights.append(numpy_helper.from_array(np.asarray(array), key))
    return key


def op(kind, inputs, **attributes):
    out = name()
    nodes.append(helper.make_node(kind, inputs, [out], **attributes))
    return out


def swish(x):
    return op("Mul", [x, op("Sigmoid", [x])])


def conv(x, ci, co, k=1, stride=1, depthwise=False, shared=None):
    shape = (co, 1 if depthwise else ci, k, k)
    if shared is not None and "w" in shared:
        w = shared["w"]
    else:
        w = constant((rng.standard_normal(shape) / np.sqrt(shape[1] * k * k)).astype(np.float32))
        if shared is not None:
            shared["w"] = w
    b = constant(np.zeros(co, np.float32))
    return op("Conv", [x, w, b], kernel_shape=[k, k], strides=[stride, stride], auto_pad="SAME_UPPER",
              group=ci if depthwise else 1)


def mbconv(x, ci, co, k, stride, expand):
    mid = ci * expand
    y = swish(conv(x, ci, mid)) if expand > 1 else x
    y = swish(conv(y, mid, mid, k, stride, depthwise=True))
    s = op("GlobalAveragePool", [y])
    s = swish(conv(s, mid, max(1, ci // 4)))
    s = op("Sigmoid", [conv(s, max(1, ci // 4), mid)])
    y = conv(op("Mul", [y, s]), mid, co)
    return op("Add", [x, y]) if stride == 1 and ci == co else y


def separable(x, ci, co, shared):
    y = conv(x, ci, ci, 3, depthwise=True, shared=shared.setdefault("d", {}))
    return conv(y, ci, co, shared=shared.setdefault("p", {}))


def pool(x):
    return op("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")


def up(x):
    return op("Resize", [x, "", constant(np.array([1, 1, 2, 2], np.float32))], mode="nearest",
              coordinate_transformation_mode="asymmetric", nearest_mode="floor")


def fuse(*inputs):
    third = constant(np.float32(1.0 / len(inputs)))
    total = op("Mul", [inputs[0], third])
    for x in inputs[1:]:
        total = op("Add", [total, op("Mul", [x, third])])
    return separable(swish(total), 64, 64, {})


x = swish(conv("image", 3, 32, 3, 2))
features, channels = [], 32
for k, stride, expand, out, repeats in [(3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
                                        (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1)]:
    for i in range(repeats):
        x = mbconv(x, channels, out, k, stride if i == 0 else 1, expand)
        channels = out
    features.append((x, out))
c3, c4, c5 = features[2], features[4], features[6]
p6 = pool(conv(c5[0], 320, 64))
levels = [conv(*c3, 64), conv(*c4, 64), conv(*c5, 64), p6, pool(p6)]
extra = [None, conv(*c4, 64), conv(*c5, 64), None, None]
for cell in range(3):
    again = [e if cell == 0 and e else l for e, l in zip(extra, levels)]
    down = list(levels)
    for i in (3, 2, 1, 0):
        down[i] = fuse(levels[i], up(down[i + 1] if i < 3 else levels[4]))
    out = [down[0]]
    for i in (1, 2, 3):
        out.append(fuse(again[i], down[i], pool(out[i - 1])))
    out.append(fuse(levels[4], pool(out[3])))
    levels = out
outputs = []
for head, n in (("cls", 810), ("box", 36)):
    shared = [{} for _ in range(4)]
    for i, x in enumerate(levels):
        for j in range(3):
            x = swish(separable(x, 64, 64, shared[j]))
        y = separable(x, 64, n, shared[3])
        nodes.append(helper.make_node("Identity", [y], [f"{head}_{i + 3}"]))
        size = 64 >> i
        outputs.append(helper.make_tensor_value_info(f"{head}_{i + 3}", TensorProto.FLOAT, [1, n, size, size]))
graph = helper.make_graph(nodes, "d0", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 512, 512])],
                          outputs, weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model)
onnx.save(model, sys.argv[1])
