"""Times a training step or an inference of D0 in PyTorch's `effdet` from PyPI.

  d0_effdet.py train|infer BATCH_SIZE [STEPS]
"""
import json
import sys
import time

import torch
from effdet import create_model

mode, batch = sys.argv[1], int(sys.argv[2])
images = torch.randn(batch, 3, 512, 512)
if mode == "train":
    model = create_model("tf_efficientdet_d0", bench_task="train", bench_labeler=True, pretrained=False,
                         pretrained_backbone=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    target = {"bbox": [torch.tensor([[50.0, 60.0, 200.0, 220.0]])] * batch,
              "cls": [torch.tensor([1.0])] * batch, "img_scale": torch.ones(batch),
              "img_size": torch.full((batch, 2), 512.0)}

    def call():
        optimizer.zero_grad()
        loss = model(images, target)["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
else:
    model = create_model("tf_efficientdet_d0", pretrained=False, pretrained_backbone=False).eval()

    def call():
        with torch.no_grad():
            model(images)

steps = int(sys.argv[3]) if len(sys.argv) > 3 else 10 if mode == "train" else 30
seconds = []
for i in range(3 + steps):
    if i == 3:
        cpu = time.process_time()
    start = time.perf_counter()
    call()
    if i >= 3:
        seconds.append(time.perf_counter() - start)
cpu = (time.process_time() - cpu) / steps
seconds.sort()
print(json.dumps({"best": 1e3 * seconds[0], "median": 1e3 * seconds[len(seconds) // 2],
                  "cpu": 1e3 * cpu}))
