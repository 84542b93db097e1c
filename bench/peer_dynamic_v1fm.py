"""PyTorch's seconds for Dynamic-V1FM at published size, one clip.

    python3 bench/peer_dynamic_v1fm.py FOLDER_OF_dynamic_v1fm.py eval|train RUNS [THREADS]

FOLDER holds a statement of the model in PyTorch with DynamicV1FM, Config and the functions named below.
Where the statement spells a layer out that the framework has, the framework's is used: attention with one
table of biases and masks, grid_sample, the fused AdamW. Needs torch and numpy. Prints one line of JSON:
seconds on the wall and of the processor, peak memory of the process.
"""
import sys

import numpy as np
import torch
from torch.nn import functional as F

from peer_timing import report

folder, mode, runs = sys.argv[1], sys.argv[2], int(sys.argv[3])
threads = int(sys.argv[4]) if len(sys.argv) > 4 else 1
sys.path.insert(0, folder)
import dynamic_v1fm as statement  # noqa: E402

NEURONS = 7863
masks = {}


def window_attention(x, qkv, qkv_bias, out, out_bias, bias, window, moves, heads):
    extent, width = x.shape[1:4], x.shape[-1]
    x = statement.pad_end(x, window)
    padded = x.shape[1:4]
    x = torch.roll(x, [-m for m in moves], (1, 2, 3))
    x = statement.partition(x, window)
    b, n, tokens, _ = x.shape
    x = F.linear(x, qkv, qkv_bias).reshape(b * n, tokens, 3, heads, width // heads)
    query, key, value = x.permute(2, 0, 3, 1, 4)
    if padded not in masks:
        masks[padded] = statement.region_mask(padded, window, moves).to(x.dtype)
    added = (masks[padded][:, None] + bias).repeat(b, 1, 1, 1)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=added)
    mixed = mixed.transpose(1, 2).reshape(b, n, tokens, width)
    x = statement.unpartition(F.linear(mixed, out, out_bias), window, padded)
    t, h, w = extent
    return torch.roll(x, list(moves), (1, 2, 3))[:, :t, :h, :w]


def bilinear(x, points):
    return F.grid_sample(x, points[:, None], align_corners=True)[:, :, 0]


torch.manual_seed(1)
torch.set_num_threads(threads)
model = statement.DynamicV1FM(statement.Config(neurons=(NEURONS,)))
model.set_mouse(0, np.random.rand(NEURONS, 3), np.random.rand(NEURONS))
model.train(mode == "train")
video, behavior, pupil = torch.randn(1, 1, 30, 36, 64), torch.randn(1, 2, 30), torch.randn(1, 2, 30)
responses = torch.rand(1, NEURONS, 30)
optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05, fused=True)
inputs, noise = (0, video, behavior, pupil), torch.randn(15, NEURONS, 2)
with torch.no_grad():
    expected = model(*inputs, noise)
    statement.window_attention, statement.bilinear = window_attention, bilinear
    difference = float((model(*inputs, noise) - expected).abs().max() / expected.abs().max())
assert difference < 1e-5, difference


def call():
    if mode == "train":
        optimizer.zero_grad()
        statement.poisson_loss(model(*inputs), responses).backward()
        optimizer.step()
        return
    with torch.no_grad():
        model(*inputs)


report(call, runs, torch=torch.__version__, mode=mode, threads=threads, difference=difference)
