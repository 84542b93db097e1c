"""Puts the turns that bench/cpu.sh timed into one JSON file and one table.

usage: summarise.py FOLDER_OF_TURNS RESULT_WITHOUT_SUFFIX VERSION
"""

import glob
import json
import os
import platform
import statistics
import subprocess
import sys


def processor():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return f"{names[0]}, {len(names)} processors" if names else platform.machine()


def commit():
    answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"


def read_npc(path):
    with open(path) as f:
        report = json.load(f)
    program = report["programs"][0]
    level = program["levels"][0]
    return {
        "seconds": level["seconds"],
        "peak_bytes": program["peak_bytes"],
        "compile": level["compile_seconds"],
        "program": program,
        "machine": report["machine"],
    }


def read_peer(path):
    with open(path) as f:
        row = json.loads(f.read().strip().splitlines()[-1])
    seconds = {"median": row["median_s"], "min": row["min_s"], "max": row["max_s"]}
    return {"seconds": seconds, "peak_bytes": row["peak_bytes"], "row": row}


def collect(folder):
    """{(mode, what): [turn, ..]} in order of the rounds."""
    turns = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.*.*.*.json"))):
        who, _, mode, variant, _ = os.path.basename(path).split(".")
        read = read_npc if who == "npc" else read_peer
        label = f"npc, fuse {variant}" if who == "npc" else f"PyTorch, {variant}"
        turns.setdefault((mode, label), []).append(read(path))
    return turns


def over_rounds(rows):
    """Median of the turns' medians, and the range of everything."""
    return {
        "median": statistics.median(r["seconds"]["median"] for r in rows),
        "min": min(r["seconds"]["min"] for r in rows),
        "max": max(r["seconds"]["max"] for r in rows),
        "peak_bytes": max(r["peak_bytes"] for r in rows),
    }


def compile_times(rows):
    """Cold and cached: seconds from the file to a program that runs."""
    def total(row):
        c = row["compile"]
        return c["elaborate"] + c["passes"] + c["code_and_memory"]

    cold = [total(r) for r in rows if not r["compile"]["from_cache"]]
    cached = [total(r) for r in rows if r["compile"]["from_cache"]]
    return {"cold": max(cold, default=None), "cached": min(cached, default=None)}


def seconds_text(value):
    return "-" if value is None else f"{value:.2f}"


def mode_table(mode, turns, lines):
    rows = {label: over_rounds(r) for (m, label), r in turns.items() if m == mode}
    peers = [r["median"] for label, r in rows.items() if label.startswith("PyTorch")]
    best = min(peers, default=None)
    lines += ["| | median ms | min - max ms | peak memory MB | times as fast as PyTorch |",
              "|---|---|---|---|---|"]
    for label, r in rows.items():
        ratio = f"{best / r['median']:.2f}" if best and label.startswith("npc") else ""
        lines.append(f"| {label} | {1e3 * r['median']:.1f} | {1e3 * r['min']:.1f} - "
                     f"{1e3 * r['max']:.1f} | {r['peak_bytes'] / 1e6:.0f} | {ratio} |")
    lines.append("")


def work_table(mode, turns, lines):
    lines += ["| | kernels | distinct | GFLOP | GB moved | GFLOP/s | share of the roof |",
              "|---|---|---|---|---|---|---|"]
    for (m, label), rows in turns.items():
        if m != mode or not label.startswith("npc"):
            continue
        level = rows[-1]["program"]["levels"][0]
        median = over_rounds(rows)["median"]
        lines.append(f"| {label} | {level['kernels']} | {level['distinct_kernels']} | "
                     f"{level['flops'] * 1e-9:.2f} | {level['bytes'] * 1e-9:.2f} | "
                     f"{level['flops'] * 1e-9 / median:.1f} | {100 * level['roof_share']:.0f} % |")
    lines.append("")


def compile_table(turns, lines):
    lines += ["| compiling | cold s | cached s |", "|---|---|---|"]
    for (mode, label), rows in turns.items():
        if label.startswith("npc"):
            t = compile_times(rows)
            lines.append(f"| {mode}, {label} | {seconds_text(t['cold'])} | "
                         f"{seconds_text(t['cached'])} |")
    lines.append("")


def main():
    folder, result, version = sys.argv[1:]
    turns = collect(folder)
    with open(os.path.join(folder, "compile.json")) as f:
        compiled = json.load(f)
    npc = [r for (_, label), rows in turns.items() if label.startswith("npc") for r in rows]
    peer = [r["row"] for (_, label), rows in turns.items() if label.startswith("PyTorch") for r in rows]
    machine = {key: max(r["machine"][key] for r in npc) for key in npc[0]["machine"]}
    lines = [
        f"# {compiled['model']} on a processor: {os.path.basename(result)}",
        "",
        f"{processor()}; {machine['threads']} threads; {version}, commit {commit()}, code for "
        f"{compiled['target']}" + (f"; PyTorch {peer[0]['torch']}" if peer else "") + ".",
        "",
        f"{compiled['parameters']:,} parameters, {compiled['multiply_adds_per_clip']:,} multiply-adds "
        f"per clip, {compiled['recordings']} recordings, float32. Measured here: "
        f"{machine['peak_flops_per_second'] * 1e-9:.0f} GFLOP/s of multiply-adds, "
        f"{machine['read_bytes_per_second'] * 1e-9:.1f} GB/s read, "
        f"{machine['copy_bytes_per_second'] * 1e-9:.1f} GB/s copied.",
        "",
    ]
    for mode, title in (("eval", "Evaluation"), ("train", "Training step")):
        batch = next((r["program"]["batch"] for (m, label), rows in turns.items()
                      if m == mode and label.startswith("npc") for r in rows), None)
        if batch is None:
            continue
        lines += [f"## {title}, batch {batch}", ""]
        mode_table(mode, turns, lines)
        work_table(mode, turns, lines)
    lines += ["## Compiling", ""]
    compile_table(turns, lines)
    lines += ["`bench/cpu.sh` wrote this; every turn's numbers are in the JSON file beside it."]
    with open(result + ".md", "w") as f:
        f.write("\n".join(lines) + "\n")
    everything = [{"mode": mode, "what": label, "turns": rows} for (mode, label), rows in turns.items()]
    with open(result + ".json", "w") as f:
        json.dump({"processor": processor(), "version": version, "commit": commit(),
                   "machine": machine, "compile": compiled, "results": everything}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
