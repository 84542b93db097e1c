# Whole runs: training, resuming, prediction, scores.
npc_test(models train npc_runtime)
