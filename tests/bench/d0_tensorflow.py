"""Times a training step or an inference of a network of EfficientDet-D0's shape in TensorFlow: the B0 of
keras.applications, three BiFPN cells of 64 channels with fast attention, heads of three separable convolutions
shared by the levels with a batch norm for each, focal and Huber loss, L2, clipping by the global norm, SGD with
momentum and averages of the variables, one tf.function. It is our own model of what the reference's step
computes, not the reference's code.

  d0_tensorflow.py train|infer BATCH_SIZE [STEPS]
"""
import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import numpy as np
import tensorflow as tf

mode, batch = sys.argv[1], int(sys.argv[2])
layers = tf.keras.layers
threads = len(os.sched_getaffinity(0))
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(1)


def norm():
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3)


class Fuse(layers.Layer):
    """Fast attention over its inputs."""

    def build(self, shapes):
        self.w = [self.add_weight(name=f"w{i}", shape=(), initializer="ones") for i in range(len(shapes))]

    def call(self, inputs):
        w = [tf.nn.relu(x) for x in self.w]
        return tf.add_n([x * v for x, v in zip(inputs, w)]) / (tf.add_n(w) + 1e-4)


def node(*inputs):
    x = tf.nn.swish(Fuse()(list(inputs)))
    return norm()(layers.SeparableConv2D(64, 3, padding="same")(x))


def lateral(x):
    return norm()(layers.Conv2D(64, 1)(x))


pool = lambda x: layers.MaxPool2D(3, 2, padding="same")(x)
up = lambda x: layers.UpSampling2D(2)(x)

backbone = tf.keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(512, 512, 3))
c3, c4, c5 = [backbone.get_layer(n).output for n in ("block3b_add", "block5c_add", "block7a_project_bn")]
p6 = pool(lateral(c5))
levels = [lateral(c3), lateral(c4), lateral(c5), p6, pool(p6)]
extra = [None, lateral(c4), lateral(c5), None, None]
for cell in range(3):
    again = [e if cell == 0 and e is not None else l for e, l in zip(extra, levels)]
    down = list(levels)
    for i in (3, 2, 1, 0):
        down[i] = node(levels[i], up(down[i + 1]))
    out = [down[0]]
    for i in (1, 2, 3):
        out.append(node(again[i], down[i], pool(out[i - 1])))
    out.append(node(levels[4], pool(out[3])))
    levels = out
outputs = []
for n in (810, 36):
    convs = [layers.SeparableConv2D(64, 3, padding="same") for _ in range(3)]
    last = layers.SeparableConv2D(n, 3, padding="same", bias_initializer=tf.constant_initializer(-4.6 if n > 36 else 0))
    of_levels = []
    for x in levels:
        for c in convs:
            x = tf.nn.swish(norm()(c(x)))
        of_levels.append(last(x))
    outputs.append(of_levels)
model = tf.keras.Model(backbone.input, outputs)

rng = np.random.default_rng(1)
images = tf.constant(rng.integers(0, 256, (batch, 512, 512, 3)).astype(np.float32))
n_anchors = sum(9 * (64 >> i) ** 2 for i in range(5))
classes = rng.integers(0, 90, (batch, n_anchors))
classes[rng.random(classes.shape) > 0.002] = -1
cls_targets = tf.constant(classes, tf.int32)
box_targets = tf.constant(rng.standard_normal((batch, n_anchors, 4)).astype(np.float32) * (classes >= 0)[..., None])
norm_by = tf.constant(float((classes >= 0).sum()) + 1.0)
variables = model.trainable_variables
floats = [v for v in model.variables if v.dtype == tf.float32]
averages = [tf.Variable(v, trainable=False) for v in floats]
optimizer = tf.keras.optimizers.legacy.SGD(0.001, momentum=0.9)
kernels = [v for v in variables if "kernel" in v.name]


def focal(logits, targets):
    t = tf.one_hot(targets, 90)
    p = tf.sigmoid(logits)
    modulation = tf.pow(1.0 - (t * p + (1 - t) * (1 - p)), 1.5)
    alpha = t * 0.25 + (1 - t) * 0.75
    ce = tf.nn.sigmoid_cross_entropy_with_logits(labels=t, logits=logits)
    return tf.reduce_sum(alpha * modulation * ce) / norm_by


def huber(box, targets):
    error = tf.where(targets != 0, box - targets, 0.0)
    size = tf.abs(error)
    return tf.reduce_sum(tf.where(size < 0.1, 0.5 * error * error, 0.1 * size - 0.005)) / (4 * norm_by)


@tf.function
def train_step():
    with tf.GradientTape() as tape:
        cls, box = model(images, training=True)
        loss, at = 0.0, 0
        for c, b in zip(cls, box):
            n = c.shape[1] * c.shape[2] * 9
            loss += focal(tf.reshape(c, (batch, n, 90)), cls_targets[:, at:at + n])
            loss += 50 * huber(tf.reshape(b, (batch, n, 4)), box_targets[:, at:at + n])
            at += n
        loss += 4e-5 * tf.add_n([tf.nn.l2_loss(k) for k in kernels])
    gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), 10.0)
    optimizer.apply_gradients(zip(gradients, variables))
    for a, v in zip(averages, floats):
        a.assign_sub((a - v) * 0.0002)
    return loss


@tf.function
def infer():
    return model(images, training=False)


call = train_step if mode == "train" else infer
steps = int(sys.argv[3]) if len(sys.argv) > 3 else 10 if mode == "train" else 30
seconds = []
for i in range(3 + steps):
    if i == 3:
        cpu = time.process_time()
    start = time.perf_counter()
    result = call()
    _ = [r.numpy() for r in tf.nest.flatten(result)][0]
    if i >= 3:
        seconds.append(time.perf_counter() - start)
cpu = (time.process_time() - cpu) / steps
seconds.sort()
print(json.dumps({"best": 1e3 * seconds[0], "median": 1e3 * seconds[len(seconds) // 2],
                  "cpu": 1e3 * cpu}))
