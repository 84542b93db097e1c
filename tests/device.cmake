# CUDA code and the CUDA device, on the simulator.
npc_sim_test(unit cuda_compile npc_codegen)
