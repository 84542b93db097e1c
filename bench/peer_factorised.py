"""PyTorch's processor seconds for the factorised baseline at published size, one clip, one thread.

    python3 bench/peer_factorised.py FOLDER_OF_baselines.py eval|train RUNS

FOLDER holds a statement of the model in PyTorch with FactorisedBaseline, Session, optimizer_for and
objective. Needs torch and numpy. Prints one line of JSON.
"""
import json
import statistics
import sys
import time

import numpy as np
import torch

folder, mode, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, folder)
import baselines  # noqa: E402

NEURONS = 7863
torch.manual_seed(1)
torch.set_num_threads(1)
model = baselines.FactorisedBaseline({"a": baselines.Session(np.random.rand(NEURONS, 3))})
model.train(mode == "train")
video, pupil = torch.randn(1, 3, 80, 36, 64), torch.randn(1, 2, 80)
responses = torch.rand(1, NEURONS, 80)
optimizer = baselines.optimizer_for(model)


def call():
    if mode == "train":
        optimizer.zero_grad()
        baselines.objective(model, video, pupil, responses, "a", 711).backward()
        optimizer.step()
        return
    with torch.no_grad():
        model(video, pupil, "a")


call()
seconds = []
for _ in range(runs):
    start = time.process_time()
    call()
    seconds.append(time.process_time() - start)
print(json.dumps({"torch": torch.__version__, "mode": mode, "min_cpu_s": min(seconds),
                  "median_cpu_s": statistics.median(seconds)}))
