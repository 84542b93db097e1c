"""How the programs beside npc are timed: one call to warm up, then as many as wanted."""
import json
import resource
import statistics
import time


def report(call, runs, **facts):
    """Prints one line of JSON: the facts, seconds on the wall and of the processor, peak memory of the process."""
    call()
    wall, processor = [], []
    for _ in range(runs):
        started = time.monotonic(), time.process_time()
        call()
        wall.append(time.monotonic() - started[0])
        processor.append(time.process_time() - started[1])
    print(json.dumps({**facts, "median_s": statistics.median(wall), "min_s": min(wall),
                      "median_cpu_s": statistics.median(processor), "min_cpu_s": min(processor),
                      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
