"""PyTorch's seconds for a baseline of SENSORIUM 2023 at published size, one clip of 80 frames.

    python3 bench/peer_baselines.py FOLDER_OF_baselines.py factorised|gru eval|train RUNS [THREADS]

FOLDER holds a statement of the models in PyTorch with FactorisedBaseline, GruBaseline, Session,
optimizer_for and objective. Needs torch and numpy. Prints one line of JSON: seconds on the wall and of the
processor, peak memory of the process.
"""
import sys

import numpy as np
import torch

from peer_timing import report

folder, name, mode, runs = *sys.argv[1:4], int(sys.argv[4])
threads = int(sys.argv[5]) if len(sys.argv) > 5 else 1
sys.path.insert(0, folder)
import baselines  # noqa: E402

NEURONS = 7863
torch.manual_seed(1)
torch.set_num_threads(threads)
kind = {"factorised": baselines.FactorisedBaseline, "gru": baselines.GruBaseline}[name]
model = kind({"a": baselines.Session(np.random.rand(NEURONS, 3))})
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


report(call, runs, torch=torch.__version__, model=name, mode=mode, threads=threads)
